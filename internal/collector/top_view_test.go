package collector

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fanin/internal/counters"
	"fanin/internal/top"
	"fanin/sink"
	"fanin/sink/distribute"
)

// Where the streams cannot be listed, everything else is shown, with the reason, and they are asked
// for less often.
func TestTopWithoutStreams(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/streams" {
			http.Error(w, "too busy", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, `{"log": {"path": "/l/all.log", "healthy": true, "lines": 7}}`)
	}))
	t.Cleanup(web.Close)
	to, err := (&collectorURL{connect: web.URL}).target()
	if err != nil {
		t.Fatal(err)
	}
	w := &topWatch{target: to}
	head, _ := w.frame(t.Context(), top.ByLag)
	if got := strings.Join(head, "\n"); !strings.Contains(got, "7 lines") || !strings.Contains(got, "NOT LISTED: the collector answered: too busy") {
		t.Errorf("the head is %q", got)
	}
	if w.listing < time.Second {
		t.Errorf("they are asked for again after %v", 10*w.listing)
	}
}

// The tables begin with what is silent or behind, or are sorted by name.
func TestTopOrder(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := func(ago time.Duration) time.Time { return now.Add(-ago) }
	w := &topWatch{asked: now, lineRates: map[string]float64{"tcp": 41.6},
		agents:  []topAgent{{"a", "h", true, 2, at(time.Second)}, {"b", "h", false, 1, at(time.Minute)}, {"c", "h", false, 1, at(72 * time.Hour)}},
		streams: []sink.StreamStatus{{Source: "z", Seen: at(time.Hour)}, {Source: "m\x1b[2J", Seen: at(time.Second)}},
		status: status{Inputs: []inputStatus{{"agent", "A", counters.Counts{}}, {"tcp", "D", counters.Counts{Received: 7}}},
			Groups: []distribute.GroupStatus{{Group: "g"}, {Group: "slow", LagSeconds: 90, LagBytes: 20000}}}}
	shown := func(order top.Order) string {
		var b strings.Builder
		head, tables := w.show(order)
		if err := top.Print(&b, head, tables); err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(b.String()), " ")
	}
	for order, want := range map[top.Order][]string{
		top.ByLag: {"c h not connected 3d 1 b h not connected 1m 1 a h connected 1s 2", "z 1h 0 m#033[2J 1s 0",
			"slow 0 0 19K 1m 0 0 0 g 0 0 0B 0s 0 0 0", "tcp D 42 7 0 0 0 0 agent A 0 0 0 0 0 0"},
		top.ByName: {"a h connected 1s 2 b h", "m#033[2J 1s 0 z 1h 0", "g 0 0 0B 0s 0 0 0 slow", "agent A 0 0 0 0 0 0 tcp"},
	} {
		for _, text := range want {
			if got := shown(order); !strings.Contains(got, text) {
				t.Errorf("by name %v: want %q in %q", order, text, got)
			}
		}
	}
}
