package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestStuckOnce: each change of a source's state is logged once; nothing while there is no
// connection, nor just after it is back.
func TestStuckOnce(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var w stuckWatch
	a := sourceStatus{Kind: "file", Name: "/a.log", LagBytes: 7, LagSeconds: 90, State: stuck, Reason: "waits"}
	b := sourceStatus{Kind: "unix", Name: "/b.sock", State: stuck}
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		after     time.Duration
		connected bool
		list      []sourceStatus
		want      string // words of the log
	}{
		{0, true, []sourceStatus{a}, ""}, // just connected
		{stuckAfter, true, []sourceStatus{a}, "WARN /a.log bytes=7 waiting=1m30s reason=waits"},
		{5 * time.Second, true, []sourceStatus{a}, ""},
		{5 * time.Second, true, []sourceStatus{a, b}, "WARN unix /b.sock"},
		{5 * time.Second, true, []sourceStatus{b}, "INFO goes on /a.log"},
		{5 * time.Second, false, nil, ""},
		{5 * time.Second, true, []sourceStatus{b, a}, ""},
		{5 * time.Second, true, nil, ""},
		{stuckAfter, true, []sourceStatus{b}, ""}, // stuck all the time
		{5 * time.Second, true, nil, "INFO goes on /b.sock"},
		{5 * time.Second, true, nil, ""},
	} {
		out.Reset()
		now = now.Add(step.after)
		w.update(now, step.connected, step.list, log)
		for _, word := range strings.Fields(step.want) {
			if !strings.Contains(out.String(), word) {
				t.Errorf("step %d logs %q, want %q", i, out.String(), step.want)
			}
		}
		if lines := strings.Count(out.String(), "\n"); lines != min(1, len(step.want)) {
			t.Errorf("step %d logs %d lines: %s", i, lines, out.String())
		}
	}
}

// TestStuckMany: many sources that get stuck together do not fill the log.
func TestStuckMany(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	w := stuckWatch{connected: time.Unix(0, 0)}
	var list []sourceStatus
	for i := range 5000 {
		list = append(list, sourceStatus{Kind: "file", Name: fmt.Sprint(i), State: stuck})
	}
	w.update(time.Unix(1000, 0), true, list, log)
	w.update(time.Unix(1010, 0), true, nil, log)
	if lines := strings.Count(out.String(), "\n"); lines != 2*mostStuck+2 || !strings.Contains(out.String(), "sources=4980") {
		t.Errorf("%d lines: %s", lines, out.String())
	}
}

// TestSourceStates: a source is stuck when its lines wait and none was acknowledged for long,
// and names the reason: without a connection, that.
func TestSourceStates(t *testing.T) {
	for _, x := range []struct {
		waiting, stalled time.Duration
		want             string
	}{{0, 0, current}, {time.Hour, time.Second, behind}, {time.Second, time.Second, behind}, {time.Hour, stuckAfter, stuck}} {
		if got := stateOf(x.waiting, x.stalled); got != x.want {
			t.Errorf("lines that wait for %v, none acknowledged for %v: %s, want %s", x.waiting, x.stalled, got, x.want)
		}
	}
	list := []sourceStatus{{Kind: kindFile, State: stuck}, {State: stuck, Reason: "x"}, {State: current, Reason: "old"}, {State: current, LagBytes: 3, Reason: "its last line"}}
	explain(list, "")
	if got := fmt.Sprint(list[0].lag(), list[1].lag(), list[2].lag(), list[3].lag()); got != " lag=0s STUCK: nothing was acknowledged lag=0s STUCK: x (its last line)" {
		t.Errorf("%q", got)
	}
	explain(list, "refused")
	if list[0].Reason != "no connection to the collector" || list[1].Reason != "no connection to the collector; x" || list[3].Reason != "its last line" {
		t.Errorf("%+v", list)
	}
}
