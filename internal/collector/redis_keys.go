package collector

import (
	redisout "fanin/sink/distribute/redis"
)

// redisKey is a key at a server that a table uses.
type redisKey struct {
	name string
	kind string // "stream" or "list"; "" for one that is kept beside a list
	use  string // what it is, as messages say it
	at   string // the key of the configuration
	in   bool   // lines come from it
}

// keys are the keys that a table uses, except those whose name has the id of the log.
func (t *redisTable) keys() (all []redisKey) {
	for _, name := range t.Streams {
		all = append(all, redisKey{name, "stream", "a stream that lines come from", "streams", true})
	}
	for _, name := range t.Lists {
		all = append(all, redisKey{name, "list", "a list that lines come from", "lists", true})
		if key, err := redisout.KeyBeside(name, t.Consumer); err == nil && t.Consumer != "" {
			all = append(all, redisKey{key, "", "where the input from the list " + name + " counts", "lists", true})
		}
	}
	if t.Output == nil {
		return all
	}
	if name := t.Output.Stream; name != "" {
		all = append(all, redisKey{name, "stream", "the stream of an output", "output.stream", false})
	}
	if name := t.Output.List; name != "" {
		all = append(all, redisKey{name, "list", "the list of an output", "output.list", false})
		if key, err := redisout.CursorKey(name); err == nil {
			all = append(all, redisKey{key, "", "where the output to the list " + name + " keeps its position",
				"output.list", false})
		}
	}
	return all
}

// checkKeys refuses a key that is used for two things, in a table or, if of is not the table
// itself, in two tables of one database. What lines both come from, or go round through, is
// refused elsewhere.
func (t *redisTable) checkKeys(c *checks, of *redisTable, at string) {
	mine, theirs := t.keys(), of.keys()
	for i, a := range mine {
		if t == of {
			theirs = mine[:i]
		}
		for _, b := range theirs {
			if a.name == b.name && !(a.kind == b.kind && (a.in || b.in)) {
				c.Problem(a.at, "the key %q is %s, and also %s%s: give each a key of its own",
					a.name, a.use, b.use, at)
			}
		}
	}
}

// checkLists refuses names of lists with which the input cannot work.
func (t *redisTable) checkLists(c *checks) {
	if len(t.Lists) > 0 && t.Consumer == redisout.CursorName {
		c.Problem("consumer", "consumer is %q, which is the name of what outputs keep beside a list: choose another "+
			"one", t.Consumer)
	}
	for _, name := range t.Lists {
		if _, err := redisout.CursorKey(name); t.Cluster && err != nil {
			c.Problem("lists", "%v", err)
		}
	}
}
