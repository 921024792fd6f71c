package agent_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
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

// TestLabelsAreCounted: the labels of a batch take from the same memory as its text,
// before the text has come, while it is written, and not after.
func TestLabelsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		written := make(chan struct{})
		k.Outcome = func(context.Context, wire.Batch) error { <-written; return nil }
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		p := ingesttest.StartPipes(t, s)
		var b wire.Batch
		for i := range wire.MaxMarks {
			b.Label(wire.Labels{Source: fmt.Sprintf("source-%d", i)})
			b.Text = append(b.Text, '\n')
		}
		b.Stream, b.End, b.Time = wire.StreamID{7}, int64(len(b.Text)), time.Now().UnixMicro()
		head := wire.AppendBatch(nil, &b, 0, b.Text)
		sender := p.Join(t, ingesttest.Addr(1), 1)
		sender.Conn.Write(head[:len(head)-12])
		synctest.Wait()
		labels := int64(b.LabelBytes())
		if used := s.Budget.Used(); used < labels || used > 2*labels {
			t.Errorf("%d bytes are counted for labels of %d", used, labels)
		}
		sender.Conn.Write(append(head[len(head)-12:], b.Text...))
		synctest.Wait()
		if used := s.Budget.Used(); used < labels+b.End || used > 2*(labels+b.End) {
			t.Errorf("%d bytes are counted for labels and text of %d", used, labels+b.End)
		}
		close(written)
		synctest.Wait()
		if n := sender.Got(wire.KindAck); n != 1 || s.Budget.Used() != 0 {
			t.Errorf("%d answers, and %d bytes are not released", n, s.Budget.Used())
		}
		sender.Conn.Close()
	})
}
