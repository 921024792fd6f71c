package collector

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"fanin/internal/config"
	redisout "fanin/sink/distribute/redis"
	redistail "fanin/sink/livetail/redis"
)

// redisOutputTable is [collector.redis.output]: where lines go at a Redis server.
type redisOutputTable struct {
	Stream  string `toml:"stream"`
	Channel string `toml:"channel"`
	List    string `toml:"list"`
	Group   string `toml:"group"`
	From    string `toml:"from"`
	MaxLen  *int   `toml:"max_len"`
}

// group is the name of the group whose lines go out; "" for a channel.
func (o *redisOutputTable) group() string {
	if o == nil || o.Channel != "" {
		return ""
	}
	return cmp.Or(o.Group, "redis")
}

var goodGroup = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

// check checks the output of a table.
func (o *redisOutputTable) check(c *checks) {
	if o == nil {
		return
	}
	at := c.Sub("output")
	set := 0
	for _, name := range []string{o.Stream, o.Channel, o.List} {
		if name != "" {
			set++
		}
	}
	if set != 1 {
		at.Problem("", "the output needs exactly one of stream = \"fanin\", list = \"fanin\" and "+
			"channel = \"fanin.{source}\"")
		return
	}
	if o.Channel != "" {
		o.checkChannel(at)
		return
	}
	if !goodGroup.MatchString(o.group()) {
		at.Problem("group", "group is %q; want 1 to 64 letters, digits, '.', '_' and '-', the first not a '.'", o.Group)
	}
	at.AtLeast("max_len", o.MaxLen, 1)
	if o.List != "" {
		if _, err := redisout.CursorKey(o.List); err != nil {
			at.Problem("list", "%v", err)
		}
	}
	for _, other := range c.others {
		if x, ok := other.table.(*redisTable); ok && x.Output.group() == o.group() {
			at.Problem("group", "group %q is also that of the output of %s: each output needs a group of its own",
				o.group(), other.at)
		}
	}
}

// checkChannel checks an output to channels.
func (o *redisOutputTable) checkChannel(at config.Table) {
	if err := redistail.Channel(o.Channel).Check(); err != nil {
		at.Problem("channel", "%v", err)
	}
	for _, x := range []struct {
		key string
		set bool
	}{{"group", o.Group != ""}, {"from", o.From != ""}, {"max_len", o.MaxLen != nil}} {
		if x.set {
			at.Problem(x.key, "%s has no effect with channel: lines are published as they come, and nothing is kept",
				x.key)
		}
	}
}

// checkLoops refuses what would receive the lines again that go out to the same server.
func (t *redisTable) checkLoops(c *checks) {
	tables := []*redisTable{t}
	for _, other := range c.others {
		if x, ok := other.table.(*redisTable); ok && slices.Equal(x.URL, t.URL) {
			tables = append(tables, x)
		}
	}
	for _, x := range tables {
		key, name := t.receives(x.Output)
		if key == "" && x != t {
			key, name = x.receives(t.Output)
		}
		if key != "" {
			c.Problem("", "%s %q would be received again, for ever: an output of the same server writes to it",
				key, name)
		}
	}
}

// receives returns which of its keys would receive what an output sends.
func (t *redisTable) receives(o *redisOutputTable) (key, name string) {
	switch {
	case o == nil:
		return "", ""
	case o.Stream != "" && slices.Contains(t.Streams, o.Stream):
		return "stream", o.Stream
	case o.List != "" && slices.Contains(t.Lists, o.List):
		return "list", o.List
	}
	example := strings.NewReplacer("{host}", "host", "{source}", "source", "/", "-").Replace(o.Channel)
	for _, pattern := range t.Channels {
		if ok, err := path.Match(strings.ReplaceAll(pattern, "/", "-"), example); o.Channel != "" && ok && err == nil {
			return "channel", pattern
		}
	}
	return "", ""
}
