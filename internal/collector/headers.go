package collector

import (
	"cmp"
	"time"
	_ "time/tzdata" // images have no zone files

	"fanin/ingest/syslog"
)

// headerTable is how the headers of syslog messages are understood. Tables whose inputs have such
// messages embed it.
type headerTable struct {
	TrustHost bool   `toml:"trust_host"`
	Time      string `toml:"time"`
	Timezone  string `toml:"timezone"`
	PRI       string `toml:"pri"`
}

// Values of the keys.
const (
	timeRead   = "read"
	timeSender = "sender"
	priDrop    = "drop"
	priKeep    = "keep"
)

func (t *headerTable) check(c *checks) {
	c.OneOf("time", cmp.Or(t.Time, timeRead), timeRead, timeSender)
	c.OneOf("pri", cmp.Or(t.PRI, priDrop), priDrop, priKeep)
	if t.Timezone == "" {
		return
	}
	if _, err := time.LoadLocation(t.Timezone); err != nil {
		c.Problem("timezone", "timezone is %q, which is not known; want a name as in \"UTC\" or \"Europe/Berlin\"",
			t.Timezone)
	}
}

// scanning is how messages are understood; source is that of lines without a program's name. The
// table was checked.
func (t *headerTable) scanning(s *settings, source string) *syslog.Settings {
	x := &syslog.Settings{Source: source, TrustHost: t.TrustHost, SenderTime: t.Time == timeSender,
		KeepPRI: t.PRI == priKeep, JSON: s.Collector.Log.Format == "json",
		Raw: s.Collector.Log.Format == "raw"}
	if t.Timezone != "" {
		x.Zone, _ = time.LoadLocation(t.Timezone)
	}
	return x
}
