package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/wire"
)

func streamID(n int) (id wire.StreamID) {
	copy(id[:], fmt.Sprintf("stream %08d", n))
	return id
}

// begins has an agent begin its stream n.
func begins(s *Sink, agent, address string, n int) error {
	return s.Append(context.Background(), wire.Batch{Op: wire.OpOpen, Stream: streamID(n), Epoch: 1, Agent: agent, Address: address, Host: "h", Source: "app", Input: "agent"})
}

// datagram is line i of a lossy stream.
func datagram(n int, address string, line int64) wire.Batch {
	text := fmt.Sprintf("line %08d of %d\n", line, n)
	return wire.Batch{Kind: wire.StreamLossy, Stream: streamID(n), Epoch: 1, Agent: "udp", Address: address, Host: "h", Source: "app", Input: "udp-agent",
		FirstLine: line, Offset: line * 100, End: line*100 + 99, Text: []byte(text)}
}

func refusedBy(t *testing.T, s *Sink, limit string, err error) {
	t.Helper()
	if !errors.Is(err, wire.ErrRefused) || !strings.Contains(err.Error(), "[collector.limits]") {
		t.Errorf("%v, want a refusal that names the limit", err)
	}
	if n := s.counts.refused[limit].Load(); n != 1 {
		t.Errorf("%d refusals by the limit %q, want 1", n, limit)
	}
}

func TestStreamLimits(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{Streams: 10, StreamsPerAgent: 3, StreamsPerAddress: 4}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		must(begins(s, "a", "192.0.2.1", n))
	}
	refusedBy(t, s, limitAgent, begins(s, "a", "192.0.2.1", 3))
	must(begins(s, "a", "192.0.2.1", 0)) // it is known
	must(begins(s, "b", "192.0.2.1", 0))
	refusedBy(t, s, limitAddress, begins(s, "b", "192.0.2.1", 1))
	must(begins(s, "b", "192.0.2.2", 1)) // another address
	for n := range 3 {
		must(begins(s, "c", "", n)) // has shown a certificate
	}
	must(begins(s, "d", "", 0))
	must(begins(s, "d", "", 1))
	refusedBy(t, s, limitTotal, begins(s, "d", "", 2))
	end := wire.Batch{Op: wire.OpEnd, Stream: streamID(0), Epoch: 1, Agent: "a", Input: "agent"}
	must(s.Append(context.Background(), end))
	must(begins(s, "d", "", 2)) // room again
	if st := s.Status(); st.Streams != 10 {
		t.Errorf("%d streams", st.Streams)
	}
}

// Agents without a certificate, from however many addresses, leave room for others.
func TestUnprovenStreams(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{Streams: 10, Unproven: 6}})
	for n := range 6 {
		if err := begins(s, "a", fmt.Sprintf("192.0.2.%d", n), n); err != nil {
			t.Fatal(err)
		}
	}
	refusedBy(t, s, limitUnproven, begins(s, "a", "192.0.2.7", 7))
	if err := begins(s, "b", "", 7); err != nil {
		t.Errorf("an agent with a certificate: %v", err)
	}
	if n, err := s.Forget(context.Background(), StreamFilter{Agent: "a"}, idle); n != 6 || err != nil || s.catalog.senders.unproven != 0 {
		t.Errorf("forgot %d, %v; %d are counted still", n, err, s.catalog.senders.unproven)
	}
}

// What comes beyond a limit is counted as rejected, line by line.
func TestLossyLimits(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{LossyPerAddress: 3, Lossy: 5}})
	send := func(b wire.Batch) error { return s.Append(context.Background(), b) }
	known := func(n int) bool {
		return s.catalog.streams[streamID(n).Owned(wire.StreamLossy, "udp")] != nil
	}
	for n := range 3 {
		for line := range int64(2) {
			if err := send(datagram(n, "192.0.2.1", line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	refusedBy(t, s, limitLossyIP, send(datagram(3, "192.0.2.1", 0)))
	for n := 10; n < 100; n++ { // each sends once: the newest two are known
		if err := send(datagram(n, fmt.Sprintf("198.51.100.%d", n), 0)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		if !known(n) {
			t.Errorf("the older, active stream %d was displaced", n)
		}
	}
	if known(97) || !known(98) || !known(99) || s.catalog.senders.all.streams != 5 {
		t.Errorf("%d streams are known, the oldest single ones not displaced first", s.catalog.senders.all.streams)
	}
	if got := s.counts.displaced.Load(); got != 88 {
		t.Errorf("%d displaced, want 88", got)
	}
	for _, n := range []int{98, 99} {
		if err := send(datagram(n, fmt.Sprintf("198.51.100.%d", n), 1)); err != nil {
			t.Fatal(err)
		}
	}
	refusedBy(t, s, limitLossy, send(datagram(100, "203.0.113.1", 0)))
	n := s.counts.of("udp-agent")
	if n.streams.Load() != 2 || n.written.Load() != 98 {
		t.Errorf("%d lines rejected, %d written; 2 and 98 of the 100 sent", n.streams.Load(), n.written.Load())
	}
}

// At a limit the group is committed before a stream is let in; the stream's next
// datagram in the same group still finds where it stands.
func TestLossyLimitWithinAGroup(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{LossyPerAddress: 2}})
	ctx := context.Background()
	if err := s.Append(ctx, datagram(1, "192.0.2.1", 0)); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	go s.do(ctx, func(*writer) error { close(held); <-release; return nil }) // ends by release
	<-held
	var all sync.WaitGroup
	for _, b := range []wire.Batch{datagram(2, "192.0.2.1", 0), datagram(3, "192.0.2.1", 0), datagram(3, "192.0.2.1", 0), datagram(3, "192.0.2.1", 0)} {
		all.Go(func() { s.Append(ctx, b) })
		time.Sleep(10 * time.Millisecond) // it waits for the writer, which takes them in this order
	}
	close(release)
	all.Wait()
	n := s.counts.of("udp-agent")
	if n.written.Load() != 3 || n.duplicate.Load() != 2 {
		t.Errorf("%d lines written, %d duplicate; want 3 and 2", n.written.Load(), n.duplicate.Load())
	}
}

// Which streams are displaced first is known after a restart, too.
func TestLossyLimitsAfterRestart(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{LossyPerAddress: 3}})
	ctx := context.Background()
	for _, b := range []wire.Batch{datagram(0, "192.0.2.1", 0), datagram(0, "192.0.2.1", 1), datagram(1, "192.0.2.1", 0), datagram(2, "192.0.2.1", 0)} {
		if err := s.Append(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s = open(t, &Sink{Path: s.Path, Sync: syncNone, Limits: Limits{LossyPerAddress: 3}})
	for n := 3; n < 5; n++ {
		if err := s.Append(ctx, datagram(n, "192.0.2.1", 0)); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range []bool{true, false, false, true, true} {
		if got := s.catalog.streams[streamID(n).Owned(wire.StreamLossy, "udp")] != nil; got != want {
			t.Errorf("stream %d is known: %v, want %v", n, got, want)
		}
	}
}

// age makes all streams look as if nothing had come of them for long.
func age(t *testing.T, s *Sink, by time.Duration) {
	t.Helper()
	err := s.do(context.Background(), func(w *writer) error {
		for _, st := range w.catalog.streams {
			st.seen -= by.Microseconds()
		}
		w.expired = time.Time{}
		return w.expire(time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A lossy stream that expired and returns is counted as if it had never gone:
// what never came, and what comes twice; also across a restart.
func TestLossyExpiry(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	ctx := context.Background()
	if err := begins(s, "a", "", 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, datagram(1, "192.0.2.1", 0)); err != nil {
		t.Fatal(err)
	}
	age(t, s, 23*time.Hour)
	if s.Status().Streams != 2 {
		t.Fatal("expired too early")
	}
	age(t, s, 2*time.Hour)
	if s.Status().Streams != 1 || s.counts.expired.Load() != 1 {
		t.Fatalf("%d streams are left, %d expired; the agent's own shall never", s.Status().Streams, s.counts.expired.Load())
	}
	for round, line := range []int64{4, 9} {
		if err := s.Append(ctx, datagram(1, "192.0.2.1", 0)); err != nil { // comes again, late
			t.Fatal(err)
		}
		if err := s.Append(ctx, datagram(1, "192.0.2.1", line)); err != nil {
			t.Fatal(err)
		}
		if n := s.counts.of("udp-agent"); n.duplicate.Load() != 1 {
			t.Errorf("round %d: %d duplicates, want 1", round, n.duplicate.Load())
		}
		if got, want := s.counts.gap.Load(), []uint64{3, 4}[round]; got != want {
			t.Errorf("round %d: %d lines are missing, want %d", round, got, want)
		}
		age(t, s, 25*time.Hour)
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		s = open(t, &Sink{Path: s.Path, Sync: syncNone})
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(ctx, s.Path, ""); err != nil || !r.OK() {
		t.Errorf("verify: %v %q", err, r.Problems)
	}
}

func TestTombsAreBounded(t *testing.T) {
	x := newTombs()
	for round := range 3 {
		for n := range maxTombs + 100 {
			x.add(&tomb{id: streamID(n), epoch: uint32(round)})
		}
		for n := range 50 {
			x.remove(streamID(maxTombs + n))
		}
	}
	if len(x.byID) != maxTombs-50 || len(x.order) > 2*maxTombs+1 {
		t.Errorf("%d tombs, %d in order", len(x.byID), len(x.order))
	}
	if x.byID[streamID(0)] != nil || x.byID[streamID(maxTombs+99)] == nil {
		t.Error("the oldest shall go first")
	}
}

func idle(string) bool { return false }

func TestForgetStreams(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	ctx := context.Background()
	for n := range 3000 {
		if err := begins(s, fmt.Sprintf("agent-%d", n%3), "192.0.2.1", n); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, n, want int, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Errorf("%s: forgot %d, %v; want %d", what, n, err, want)
		}
	}
	if n, err := s.Forget(ctx, StreamFilter{}, idle); err == nil || n != 0 {
		t.Errorf("all streams at once: %d, %v", n, err)
	}
	if n, err := s.Forget(ctx, StreamFilter{Agent: "agent-1"}, func(a string) bool { return a == "agent-1" }); !errors.Is(err, ErrBusy) || n != 0 {
		t.Errorf("of a connected agent: %d, %v", n, err)
	}
	n, err := s.Forget(ctx, StreamFilter{IDs: []wire.StreamID{streamID(0), streamID(1), streamID(9999)}}, idle)
	expect("by id", n, 2, err)
	n, err = s.Forget(ctx, StreamFilter{Agent: "agent-2"}, func(a string) bool { return a == "agent-1" })
	expect("by agent", n, 1000, err)
	age(t, s, time.Hour)
	if err := begins(s, "agent-1", "", 4000); err != nil {
		t.Fatal(err)
	}
	n, err = s.Forget(ctx, StreamFilter{Before: time.Now().Add(-30 * time.Minute)}, idle)
	expect("by age", n, 1998, err)
	if w := welcomed(s, "agent-1"); len(w.Streams) != 1 || w.Streams[0].Stream != streamID(4000) {
		t.Errorf("left are %+v", w.Streams)
	}
	if got := s.catalog.senders.addresses; len(got) != 0 {
		t.Errorf("still counted by address: %v", got)
	}
}

// A stream that was given away goes on where it stood, under its new owner alone.
func TestGiveStreams(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	ctx := context.Background()
	src := newSource()
	src.send(t, s, "one", "two")
	for n := range 20 {
		if err := begins(s, "a", "", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := begins(s, "b", "", 0); err != nil { // has one of that id itself
		t.Fatal(err)
	}
	if n, err := s.Give(ctx, "a", "b", func(a string) bool { return a == "b" }); !errors.Is(err, ErrBusy) || n != 0 {
		t.Errorf("to a connected agent: %d, %v", n, err)
	}
	if n, err := s.Give(ctx, "a", "b", idle); err != nil || n != 20 {
		t.Fatalf("gave %d, %v; want 20", n, err)
	}
	for round := range 2 {
		if a, b := len(welcomed(s, "a").Streams), len(welcomed(s, "b").Streams); a != 1 || b != 21 {
			t.Errorf("round %d: a has %d streams, b has %d; want 1 and 21", round, a, b)
		}
		b := src.batch(fmt.Sprint("round ", round))
		var e *wire.Expected
		if err := s.Append(ctx, b); !errors.As(err, &e) || e.Known {
			t.Errorf("round %d: the old owner: %v", round, err)
		}
		b.Agent = "b"
		if err := s.Append(ctx, b); err != nil {
			t.Errorf("round %d: the new owner: %v", round, err)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(ctx, s.Path, ""); err != nil || !r.OK() {
			t.Errorf("verify: %v %q", err, r.Problems)
		}
		s = open(t, &Sink{Path: s.Path, Sync: syncNone})
	}
	expectLines(t, s, "one", "two", "round 0", "round 1")
}
