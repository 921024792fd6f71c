package ingest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestAgentLabels: an agent's marks change the source and the time of its lines. Their
// host is the session's, unless the agent may name any.
func TestAgentLabels(t *testing.T) {
	now := time.Now().Round(time.Microsecond)
	for trust, host := range map[bool]string{false: "web1", true: "bank"} {
		k := newKeeper()
		c := greet(t, serveTCP(t, &TCP{Out: k, Welcome: welcome, TrustHost: trust}), "web-1", instanceA, 1)
		b := wire.Batch{Stream: wire.StreamID{7}, End: 9, Time: now.UnixMicro()}
		for _, l := range []wire.Labels{{Source: "app"}, {Host: "bank", Time: now.Add(-time.Hour)}} {
			b.Label(l)
			b.Text = append(b.Text, "line\n"...)
		}
		c.send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
		c.want(wire.KindAck)
		var got []string
		kept := k.waitText(t, string(b.Text))[0]
		for l := range kept.Runs() {
			got = append(got, fmt.Sprint(l.Host, " ", l.Source, " ", !l.Time.IsZero() && l.Time.Equal(now.Add(-time.Hour))))
		}
		if want := []string{"web1 app false", host + "  true"}; !slices.Equal(got, want) || kept.Time != b.Time {
			t.Errorf("trusted %v: the labels are %q, want %q", trust, got, want)
		}
	}
}

// TestAgentLabelsRefused: labels that the log cannot show are refused, and the
// connection goes on.
func TestAgentLabelsRefused(t *testing.T) {
	c := greet(t, serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome}), "web-1", instanceA, 1)
	for _, l := range []wire.Labels{{Source: wire.SourceNotice}, {Source: "a b"}, {Source: "a\nb"}, {Time: time.UnixMicro(1 << 60)}} {
		b := wire.Batch{Stream: wire.StreamID{7}, End: 9, Text: []byte("line\n"), Marks: []wire.Mark{{Labels: l}}}
		c.send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
		c.want(wire.KindRefuse)
	}
	c.send(data(7, 0, "line\n"))
	c.want(wire.KindAck)
}

// TestAgentClock: where an agent's clock is wrong, the collector's own time is that of
// reading, and the lines show the agent's.
func TestAgentClock(t *testing.T) {
	agents := time.Now().Add(-time.Hour).Round(time.Microsecond)
	k := newKeeper()
	addr, _ := serveUDP(t, &UDP{Out: k}, "127.0.0.1:0")
	c := greet(t, serveTCP(t, &TCP{Out: k, Welcome: welcome}), "web-1", instanceA, 1)
	b := wire.Batch{Stream: wire.StreamID{7}, Agent: "web-1", Source: "app", End: 5, Time: agents.UnixMicro(), Text: []byte("line\n")}
	c.send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
	c.want(wire.KindAck)
	udp := dialUDP(t, addr)
	if _, err := udp.Write(wire.AppendLossy(nil, &b)); err != nil {
		t.Fatal(err)
	}
	_, batches := k.wait(t, func(_ string, batches []wire.Batch) bool { return len(batches) == 2 })
	for _, b := range batches {
		if off := time.Since(time.UnixMicro(b.Time)).Abs(); off > wire.MaxSkew {
			t.Errorf("%s: read %v ago", b.Input, off)
		}
		for l := range b.Runs() {
			if !l.Time.Equal(agents) {
				t.Errorf("%s: the line shows %v, want %v", b.Input, l.Time, agents)
			}
		}
	}
}
