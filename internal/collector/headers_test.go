package collector

import (
	"fmt"
	"strings"
	"testing"

	"fanin/internal/config"
)

// TestHeaders: each key is what the scanner gets, and what cannot be is refused.
func TestHeaders(t *testing.T) {
	s := defaults()
	x := (&headerTable{}).scanning(s, "tcp")
	if x.Source != "tcp" || x.TrustHost || x.SenderTime || x.KeepPRI || x.JSON || x.Zone != nil {
		t.Errorf("the default is %+v", x)
	}
	s.Collector.Log.Format = "json"
	x = (&headerTable{TrustHost: true, Time: "sender", Timezone: "Europe/Berlin", PRI: "keep"}).scanning(s, "relp")
	if x.Source != "relp" || !x.TrustHost || !x.SenderTime || !x.KeepPRI || !x.JSON || x.Zone.String() != "Europe/Berlin" {
		t.Errorf("all keys make %+v", x)
	}
	for want, table := range map[string]headerTable{
		"time is \"now\"; want one of": {Time: "now"}, "pri is \"no\"; want one of": {PRI: "no"},
		"timezone is \"Here\", which is not known": {Time: "sender", Timezone: "Here"},
	} {
		f, err := config.Parse("a.toml", "", new(struct{}))
		if err != nil {
			t.Fatal(err)
		}
		table.check(&checks{Table: f.Table("x")})
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", table, err, want)
		}
	}
}

// TestSourceOfListeners: a source with which the log would refuse every line is refused before the start.
func TestSourceOfListeners(t *testing.T) {
	for _, table := range []string{"tcp", "udp", "relp", "gelf", "unix"} {
		for source, want := range map[string]string{"fanin": "the collector's own lines", "a b: c": "want 1 to 255 of", "app[7]": ""} {
			where := `listen = "127.0.0.1:0"`
			if table == "unix" {
				where = `path = "/run/none/log.sock"`
			}
			_, err := loadText(t, t.TempDir(), fmt.Sprintf("[collector.log]\npath = \"/run/none/all.log\"\n[[collector.%s]]\n%s\nsource = %q\n", table, where, source))
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, source %q: %v", table, source, err)
			}
		}
	}
}
