package collector

import (
	"cmp"

	"fanin/ingest/syslog"
)

// messageTable is which messages of an input are taken apart, and how.
type messageTable struct {
	Format string `toml:"format"`
	headerTable
}

// Values of format.
const (
	formatAuto   = "auto"
	formatSyslog = "syslog"
	formatPlain  = "plain"
)

func (t *messageTable) check(c *checks) {
	c.OneOf("format", cmp.Or(t.Format, formatAuto), formatAuto, formatSyslog, formatPlain)
	t.headerTable.check(c)
	if t.Format != formatPlain {
		return
	}
	for key, value := range map[string]string{"time": t.Time, "timezone": t.Timezone, "pri": t.PRI} {
		if value != "" {
			c.Problem(key, "%s has no effect with format = \"plain\"", key)
		}
	}
}

// scanning is how messages are understood; nil: each is a line as it is.
func (t *messageTable) scanning(s *settings, source string) *syslog.Settings {
	if t.Format == formatPlain {
		return nil
	}
	x := t.headerTable.scanning(s, source)
	x.Any = t.Format == formatSyslog
	return x
}

// counted is how messages are understood, with what counts them.
func (c *server) counted(x *syslog.Settings) *syslog.Settings {
	if x != nil {
		x.Gaps, x.Metrics = &c.gaps.Gaps, c.counters
	}
	return x
}
