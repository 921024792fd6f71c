package collector

import (
	"cmp"
	"regexp"
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

// pattern is a pattern that all channels of the output match; "" if it has none.
func (o *redisOutputTable) pattern() string {
	if o == nil {
		return ""
	}
	literal := strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`, "{host}", "*", "{source}", "*")
	return literal.Replace(o.Channel)
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
