package datagram_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

func TestUDPLines(t *testing.T) {
	f := func(listen, host string) {
		t.Helper()
		k := ingesttest.NewRecorder()
		u := &ingesttest.UDP{Listener: datagram.Listener{Out: k}, Source: "net"}
		to, stop := ingesttest.StartUDP(t, u, listen)
		c := ingesttest.DialUDP(t, to)
		for _, d := range []string{"one", "two\n", "", "\n", "three\x00", "four\nfive\n\x00", "\x9b\x06 no frame", "\x00\x01", "<14>six\x00\x00<14>seven\x00\n"} {
			if _, err := c.Write([]byte(d)); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		for _, b := range k.WaitText(t, "one\ntwo\nthree\nfour\nfive\n\x9b\x06 no frame\n\x00\x01\n<14>six\n<14>seven\n") {
			if b.Host != host || b.Source != "net" || b.Input != "udp" || b.Time == 0 || b.Kind == wire.StreamLossy {
				t.Errorf("batch %+v", b)
			}
		}
		if d, e, l := ingesttest.Metric(t, u.Metrics, "fanin_udp_datagrams_total", ""), ingesttest.Metric(t, u.Metrics, "fanin_udp_empty_datagrams_total", ""), int(u.Counts("udp").Received); d != 9 || e != 2 || l != 9 {
			t.Errorf("counted %d datagrams, %d empty, %d lines", d, e, l)
		}
	}
	f("127.0.0.1:0", "127.0.0.1")
	f("[::1]:0", "::1")
	f("[::]:0", "::1")
}

func TestUDPLossy(t *testing.T) {
	k := ingesttest.NewRecorder()
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: k}}
	to, stop := ingesttest.StartUDP(t, u, "[::1]:0")
	c := ingesttest.DialUDP(t, to)
	now := time.Now().UnixMicro()
	send := func(stream byte, agent string, first, from, end int64, text string) {
		c.Write(wire.AppendLossy(nil, &wire.Batch{Stream: wire.StreamID{stream}, Agent: agent, Host: "h", Source: "s",
			FirstLine: first, Offset: from, End: end, Time: now, Text: []byte(text)}))
	}
	send(1, "a", 0, 0, 2, "1\n")
	send(2, "a", 0, 0, 4, "x\ny\n")
	send(1, "a", 1, 2, 4, "2\n")
	send(1, "a", 3, 6, 8, "4\n") // a gap before it
	send(1, "a", 4, 8, 10, "5\n")
	send(1, "fanin", 5, 10, 12, "6\n")
	stop()
	_, batches := k.Wait(t, func(text string, _ []wire.Batch) bool { return len(text) == 12 })
	var got []string
	next := int64(0)
	for _, b := range batches {
		if b.Kind != wire.StreamLossy || b.Input != "udp-agent" || b.Address != "::/64" || b.Time != now {
			t.Errorf("batch %+v", b)
		}
		if b.Stream[0] == 1 {
			got = append(got, fmt.Sprintf("%d:%s", b.FirstLine, b.Text))
			if b.Offset < next {
				t.Errorf("offset %d after %d", b.Offset, next)
			}
			next = b.End
		}
	}
	lines := strings.Join(got, "")
	if !strings.Contains(lines, "3:4\n5\n") && !strings.Contains(lines, "3:4\n4:5\n") {
		t.Errorf("stream 1: %q", lines)
	}
	if n := u.Dropped(t, "refused"); n != 1 {
		t.Errorf("%d refused", n)
	}
}

// Under overload every datagram is either kept or counted as dropped.
func TestUDPSums(t *testing.T) {
	k := ingesttest.NewRecorder()
	hold := make(chan struct{})
	k.Outcome = func(context.Context, wire.Batch) error { <-hold; return nil }
	noticed := 0
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: k, ReadBuffer: 20_000, QueueBytes: 64 << 10, Notice: func(string, ...any) { noticed++ }}}
	to, stop := ingesttest.StartUDP(t, u, "127.0.0.1:0")
	c := ingesttest.DialUDP(t, to)
	const sent = 20_000
	for i := range sent {
		fmt.Fprintf(c, "%07d %s", i, strings.Repeat("x", i%190))
	}
	close(hold)
	for i := range sent {
		fmt.Fprintf(c, "%07d %s", sent+i, strings.Repeat("x", i%190))
	}
	stop()
	text := k.Text()
	kept, dropped := strings.Count(text, "\n"), u.Dropped(t, "kernel")
	if kept+dropped != 2*sent || dropped == 0 || kept == 0 || noticed == 0 {
		t.Errorf("kept %d + dropped %d = %d, sent %d; %d notices", kept, dropped, kept+dropped, 2*sent, noticed)
	}
	last := ""
	for line := range strings.Lines(text) {
		if line[:7] <= last {
			t.Fatalf("%q after %q", line[:7], last)
		}
		last = line[:7]
	}
	if int(u.Counts("udp").Received) != kept {
		t.Errorf("counted %d lines", int(u.Counts("udp").Received))
	}
}
