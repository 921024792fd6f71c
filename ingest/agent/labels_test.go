package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// TestAgentLabels: an agent's marks change the source and the time of its lines. Their
// host is the session's, unless the agent may name any.
func TestAgentLabels(t *testing.T) {
	now := time.Now().Round(time.Microsecond)
	for trust, host := range map[bool]string{false: "web1", true: "bank"} {
		k := ingesttest.NewRecorder()
		c := ingesttest.Greet(t, ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, TrustHost: trust}), "web-1", ingesttest.InstanceA, 1)
		b := wire.Batch{Stream: wire.StreamID{7}, End: 9, Time: now.UnixMicro()}
		for _, l := range []wire.Labels{{Source: "app"}, {Host: "bank", Time: now.Add(-time.Hour)}} {
			b.Label(l)
			b.Text = append(b.Text, "line\n"...)
		}
		c.Send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
		c.Want(wire.KindAck)
		var got []string
		kept := k.WaitText(t, string(b.Text))[0]
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
	c := ingesttest.Greet(t, ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome}), "web-1", ingesttest.InstanceA, 1)
	for _, l := range []wire.Labels{{Source: wire.SourceNotice}, {Source: "a b"}, {Source: "a\nb"}, {Time: time.UnixMicro(1 << 60)}} {
		b := wire.Batch{Stream: wire.StreamID{7}, End: 9, Text: []byte("line\n"), Marks: []wire.Mark{{Labels: l}}}
		c.Send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
		c.Want(wire.KindRefuse)
	}
	c.Send(ingesttest.Data(7, 0, "line\n"))
	c.Want(wire.KindAck)
}

// TestAgentClock: where an agent's clock is wrong, the collector's own time is that of
// reading, and the lines show the agent's.
func TestAgentClock(t *testing.T) {
	agents := time.Now().Add(-time.Hour).Round(time.Microsecond)
	k := ingesttest.NewRecorder()
	addr, _ := ingesttest.StartUDP(t, &ingesttest.UDP{Listener: datagram.Listener{Out: k}}, "127.0.0.1:0")
	c := ingesttest.Greet(t, ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}), "web-1", ingesttest.InstanceA, 1)
	b := wire.Batch{Stream: wire.StreamID{7}, Agent: "web-1", Source: "app", End: 5, Time: agents.UnixMicro(), Text: []byte("line\n")}
	c.Send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
	c.Want(wire.KindAck)
	udp := ingesttest.DialUDP(t, addr)
	if _, err := udp.Write(wire.AppendLossy(nil, &b)); err != nil {
		t.Fatal(err)
	}
	_, batches := k.Wait(t, func(_ string, batches []wire.Batch) bool { return len(batches) == 2 })
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
