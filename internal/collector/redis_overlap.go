package collector

import (
	"slices"

	redisin "fanin/ingest/redis"
)

// checkOverlaps refuses what would be received twice, or for ever, because it goes out to
// the same server: within the table, and with the tables before it.
func (t *redisTable) checkOverlaps(c *checks) {
	t.checkLoops(c, t, t)
	t.checkKeys(c, t, "")
	for _, o := range c.others {
		other, ok := o.table.(*redisTable)
		switch {
		case !ok:
		case t.sameServer(other):
			t.checkTwice(c, other, o.at)
			t.checkLoops(c, t, other)
			t.checkLoops(c, other, t)
			if t.db() == other.db() {
				t.checkKeys(c, other, " of "+o.at)
			}
		case t.Name == other.Name && t.db() == other.db():
			t.checkNamesakes(c, other, o.at)
		}
	}
}

// checkTwice refuses what another table of the same server receives, too.
func (t *redisTable) checkTwice(c *checks, other *redisTable, at string) {
	for _, mine := range t.Channels {
		for _, theirs := range other.Channels {
			if redisin.Overlap(mine, theirs) {
				c.Problem("channels", "%q overlaps %q of %s: messages would be received twice; use one of them",
					mine, theirs, at)
			}
		}
	}
	if t.db() != other.db() {
		return
	}
	for key, name := range common(t, other) {
		c.Problem(key, "%q is read by %s, too: name it once", name, at)
	}
}

// checkNamesakes refuses streams and lists that have a namesake on another server: the log
// would take one for the other.
func (t *redisTable) checkNamesakes(c *checks, other *redisTable, at string) {
	for key, name := range common(t, other) {
		c.Problem(key, "%q is read by %s as well, from another server: tell the servers apart, "+
			"with name = \"...\" in this table", name, at)
	}
}

// common are the streams and lists that both tables name, each with the key of the
// configuration.
func common(t, u *redisTable) func(yield func(key, name string) bool) {
	return func(yield func(key, name string) bool) {
		for _, name := range t.Streams {
			if slices.Contains(u.Streams, name) && !yield("streams", name) {
				return
			}
		}
		for _, name := range t.Lists {
			if slices.Contains(u.Lists, name) && !yield("lists", name) {
				return
			}
		}
	}
}

// checkLoops refuses what a table would receive from the output of another one, or its own.
func (t *redisTable) checkLoops(c *checks, in, out *redisTable) {
	if out.Output == nil {
		return
	}
	loop := func(key, name string) {
		c.Problem("", "%s %q would be received again, for ever: an output writes to it at the same server",
			key, name)
	}
	if channel := out.Output.pattern(); channel != "" {
		for _, name := range in.Channels {
			if redisin.Overlap(name, channel) {
				loop("channel", name)
			}
		}
	}
	if in.db() != out.db() {
		return
	}
	if slices.Contains(in.Streams, out.Output.Stream) {
		loop("stream", out.Output.Stream)
	}
	if slices.Contains(in.Lists, out.Output.List) {
		loop("list", out.Output.List)
	}
}

// sameServer reports whether two tables lead to one server.
func (t *redisTable) sameServer(u *redisTable) bool {
	x, y := t.login(), u.login()
	return x.SameServer(&y)
}

// db is the database of the table.
func (t *redisTable) db() int {
	l := t.login()
	return l.DB()
}
