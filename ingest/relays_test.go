package ingest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/internal/wire"
)

// Lines whose host or time was replaced are counted, each line of a run of lines.
func TestRelaysCountReplaced(t *testing.T) {
	r := NewRelays([]string{"edge"}, []string{"web-*"}, "central", new(Metrics), slog.New(slog.DiscardHandler))
	now := time.Now()
	b := wire.Batch{}
	for _, l := range []wire.Labels{
		{Host: "web-1", Source: "app", Time: now.Add(23 * time.Hour)},
		{Host: "web-1", Source: "app", Time: now.Add(25 * time.Hour)},
		{Host: "web-1", Source: "app", Time: now.Add(10000 * time.Hour)},
		{Host: "db-1", Source: "app", Time: now},
		{Host: "db-1", Source: "app", Time: now.Add(25 * time.Hour)},
		{Host: "central", Source: wire.SourceNotice, Time: now},
	} {
		b.Label(l)
		b.Text = append(b.Text, "one\ntwo\n"...)
	}
	r.SetSession(&b, &wire.Hello{Agent: "edge", Session: wire.RelaySession}, false, now)
	if times, hosts := testutil.ToFloat64(r.replaced["time"]), testutil.ToFloat64(r.replaced["host"]); times != 6 || hosts != 6 {
		t.Errorf("%v lines with another time and %v with another host were counted, want 6 and 6", times, hosts)
	}
	for _, m := range b.Marks {
		if m.Labels.Time.After(now.Add(MaxAhead)) || m.Labels.Host == "db-1" || m.Labels.Host == "central" {
			t.Errorf("the labels %+v were left", m.Labels)
		}
	}
}
