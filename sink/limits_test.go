package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

func streamID(n int) (id wire.StreamID) {
	copy(id[:], fmt.Sprintf("stream %08d", n))
	return id
}

// begins has an agent begin its stream n.
func begins(s *Sink, agent, address string, n int) error {
	return s.Append(context.Background(), wire.Batch{Op: wire.OpOpen, Stream: streamID(n), Epoch: 1, Agent: agent, Host: "h", Source: "app", Input: "agent", Local: wire.Local{Address: address}})
}

// datagram is line i of a lossy stream.
func datagram(n int, address string, line int64) wire.Batch {
	text := fmt.Sprintf("line %08d of %d\n", line, n)
	return wire.Batch{Kind: wire.StreamLossy, Stream: streamID(n), Epoch: 1, Agent: "udp", Host: "h", Source: "app", Input: "udp-agent",
		FirstLine: line, Offset: line * 100, End: line*100 + 99, Text: []byte(text), Local: wire.Local{Address: address}}
}

func refusedBy(t *testing.T, s *Sink, limit string, err error) {
	t.Helper()
	if !errors.Is(err, wire.ErrRefused) || !strings.Contains(err.Error(), "[collector.limits]") {
		t.Errorf("%v, want a refusal that names the limit", err)
	}
	if n := s.counts.streams.refused[limit].Load(); n != 1 {
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
	must(begins(s, "a", "192.0.2.9", 0)) // and counts for the address that it began from
	if got := s.view.catalog.senders.addresses; len(got) != 1 || got["192.0.2.1"] != 3 {
		t.Errorf("streams by address: %v", got)
	}
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
	if n, err := s.Forget(context.Background(), StreamFilter{Agent: "a"}, idle); n != 6 || err != nil || s.view.catalog.senders.unproven != 0 {
		t.Errorf("forgot %d, %v; %d are counted still", n, err, s.view.catalog.senders.unproven)
	}
}

// What comes beyond a limit is counted as rejected, line by line.
func TestLossyLimits(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{LossyPerAddress: 3, Lossy: 5}})
	send := func(b wire.Batch) error { return s.Append(context.Background(), b) }
	known := func(n int) bool {
		return s.view.catalog.streams[streamID(n).Owned(wire.StreamLossy, "udp")] != nil
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
	if known(97) || !known(98) || !known(99) || s.view.catalog.senders.all.streams != 5 {
		t.Errorf("%d streams are known, the oldest single ones not displaced first", s.view.catalog.senders.all.streams)
	}
	if got := s.counts.streams.displaced.Load(); got != 88 {
		t.Errorf("%d displaced, want 88", got)
	}
	for _, n := range []int{98, 99} {
		if err := send(datagram(n, fmt.Sprintf("198.51.100.%d", n), 1)); err != nil {
			t.Fatal(err)
		}
	}
	refusedBy(t, s, limitLossy, send(datagram(100, "203.0.113.1", 0)))
	n := s.counts.of("udp-agent")
	if n.Counts().Rejected[counters.Streams] != 2 || n.Counts().Written != 98 {
		t.Errorf("%d lines rejected, %d written; 2 and 98 of the 100 sent", n.Counts().Rejected[counters.Streams], n.Counts().Written)
	}
}

// At a limit, too, a stream's next datagram in the group that lets it in finds where
// it stands.
func TestLossyLimitWithinAGroup(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{LossyPerAddress: 2}})
	if err := s.Append(context.Background(), datagram(1, "192.0.2.1", 0)); err != nil {
		t.Fatal(err)
	}
	together(t, s, datagram(2, "192.0.2.1", 0), datagram(3, "192.0.2.1", 0), datagram(3, "192.0.2.1", 0), datagram(3, "192.0.2.1", 0))
	n := s.counts.of("udp-agent")
	if n.Counts().Written != 3 || n.Counts().Duplicate != 2 {
		t.Errorf("%d lines written, %d duplicate; want 3 and 2", n.Counts().Written, n.Counts().Duplicate)
	}
}

// together takes batches into one group, as if they had come at the same moment, and
// returns which of them were refused.
func together(t *testing.T, s *Sink, batches ...wire.Batch) (refused []bool) {
	t.Helper()
	err := s.do(context.Background(), func(w *writer) error {
		for i := range batches {
			b := &batches[i]
			outcome, err := w.acceptStream(b)
			if err != nil {
				return err
			}
			if outcome != nil && !errors.Is(outcome, wire.ErrRefused) {
				return outcome
			}
			refused = append(refused, outcome != nil)
		}
		return w.commit()
	})
	if err != nil {
		t.Fatal(err)
	}
	return refused
}

// Limits hold within one group commit: what it begins counts at once, and what it
// ends makes room for its own sender alone.
func TestLimitsWithinOneGroup(t *testing.T) {
	op := func(op wire.Op, agent, address string, n int) wire.Batch {
		return wire.Batch{Op: op, Stream: streamID(n), Epoch: 1, Agent: agent, Host: "h", Source: "app", Input: "agent", Local: wire.Local{Address: address}}
	}
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{Streams: 8, StreamsPerAgent: 3, StreamsPerAddress: 4}})
	for n := range 2 {
		if err := begins(s, "a", "", n); err != nil {
			t.Fatal(err)
		}
		if err := begins(s, "b", "192.0.2.1", n); err != nil {
			t.Fatal(err)
		}
	}
	got := together(t, s,
		op(wire.OpEnd, "b", "192.0.2.1", 0),
		op(wire.OpOpen, "a", "", 2),
		op(wire.OpOpen, "a", "", 3), // the fourth
		op(wire.OpOpen, "b", "192.0.2.1", 2),
		op(wire.OpOpen, "c", "192.0.2.1", 0),
		op(wire.OpOpen, "c", "192.0.2.1", 1),
		op(wire.OpOpen, "c", "192.0.2.1", 2), // the fifth of the address
		op(wire.OpOpen, "d", "", 0),
		op(wire.OpOpen, "e", "", 0), // the ninth
		op(wire.OpEnd, "a", "", 0),
		op(wire.OpOpen, "a", "", 4))
	if want := []bool{false, false, true, false, false, false, true, false, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("refused %v, want %v", got, want)
	}
	if n := s.Status().Streams; n != 8 {
		t.Errorf("%d streams, want 8", n)
	}
}

// An address gets no more lossy streams than its limit by displacing those of others.
func TestLossyLimitOfOneAddress(t *testing.T) {
	for _, limits := range []Limits{{Lossy: 5, LossyPerAddress: 2}, {Streams: 5, LossyPerAddress: 2}} {
		s := open(t, &Sink{Sync: syncNone, Limits: limits})
		for n := range 5 {
			together(t, s, datagram(n, fmt.Sprint("198.51.100.", n), 0))
		}
		const crowd = "192.0.2.1"
		got := together(t, s, datagram(10, crowd, 0), datagram(11, crowd, 0), datagram(12, crowd, 0), datagram(13, crowd, 0))
		if want := []bool{false, false, true, true}; !slices.Equal(got, want) {
			t.Errorf("%+v: in one group refused %v, want %v", limits, got, want)
		}
		together(t, s, datagram(10, crowd, 1), datagram(11, crowd, 1)) // none of its own is single now
		if got := together(t, s, datagram(14, crowd, 0)); !got[0] {
			t.Errorf("%+v: one beyond the limit is taken", limits)
		}
		c := &s.view.catalog.senders
		if c.lossy[crowd].streams != 2 || c.all.streams != 5 || len(c.lossy) != 4 {
			t.Errorf("%+v: %d streams of the crowd, %d in all, of %d addresses; want 2, 5 and 4", limits, c.lossy[crowd].streams, c.all.streams, len(c.lossy))
		}
	}
}

// What is displaced makes room for its own address in the same group.
func TestDisplacedMakesRoom(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{Lossy: 4, LossyPerAddress: 2}})
	const one, other = "192.0.2.1", "192.0.2.2"
	together(t, s, datagram(0, one, 0))
	together(t, s, datagram(5, "192.0.2.3", 0))
	together(t, s, datagram(1, one, 0), datagram(1, one, 1), datagram(2, other, 0), datagram(2, other, 1))
	if got := together(t, s, datagram(3, other, 0), datagram(4, one, 0)); got[0] || got[1] {
		t.Errorf("refused %v, and nothing should be", got)
	}
}

// A new epoch counts its lines anew: none of it is missing. What a stream was
// remembered by when it expired says nothing once it has returned.
func TestLossyGaps(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{Lossy: 1}})
	send := func(what string, gap uint64, b wire.Batch) {
		t.Helper()
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if got := s.counts.streams.gapLines.Load(); got != gap {
			t.Errorf("%s: %d lines are missing, want %d", what, got, gap)
		}
	}
	send("the first line", 0, datagram(1, "192.0.2.1", 0))
	again := datagram(1, "192.0.2.1", 7)
	again.Epoch = 2
	send("a new epoch", 0, again)
	again.FirstLine, again.Offset, again.End = 10, 1000, 1099
	send("lines 8 and 9 did not come", 2, again)
	age(t, s, 25*time.Hour)
	send("another", 2, datagram(2, "192.0.2.2", 0))
	age(t, s, 25*time.Hour)
	again.FirstLine, again.Offset, again.End = 11, 1100, 1199
	send("it returns", 2, again)
	again.FirstLine, again.Offset, again.End = 12, 1200, 1299
	send("and goes on", 2, again)
	if len(s.view.catalog.tombs.byID) != 1 {
		t.Errorf("%d streams are remembered as expired; want the other one", len(s.view.catalog.tombs.byID))
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
		if got := s.view.catalog.streams[streamID(n).Owned(wire.StreamLossy, "udp")] != nil; got != want {
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
		w.lastExpiry = time.Time{}
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
	if s.Status().Streams != 1 || s.counts.streams.expired.Load() != 1 {
		t.Fatalf("%d streams are left, %d expired; the agent's own shall never", s.Status().Streams, s.counts.streams.expired.Load())
	}
	for round, line := range []int64{4, 9} {
		if err := s.Append(ctx, datagram(1, "192.0.2.1", 0)); err != nil { // comes again, late
			t.Fatal(err)
		}
		if err := s.Append(ctx, datagram(1, "192.0.2.1", line)); err != nil {
			t.Fatal(err)
		}
		if n := s.counts.of("udp-agent"); n.Counts().Duplicate != 1 {
			t.Errorf("round %d: %d duplicates, want 1", round, n.Counts().Duplicate)
		}
		if got, want := s.counts.streams.gapLines.Load(), []uint64{3, 4}[round]; got != want {
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

	// The table on disk says the same.
	c := newCatalog()
	c.tombs = x
	table := c.delta(nil)
	for n := range 400 { // the oldest go
		c.tombs.add(&tomb{id: streamID(2*maxTombs + n)})
	}
	for n := range 200 { // and some return
		c.tombs.remove(streamID(2*maxTombs + n))
	}
	table = c.delta(table)
	again := newCatalog()
	if _, err := again.load(table); err != nil {
		t.Fatal(err)
	}
	for id := range again.tombs.byID {
		if c.tombs.byID[id] == nil {
			t.Fatalf("%d tombs are in the table, %d are known", len(again.tombs.byID), len(c.tombs.byID))
		}
	}
}

// A welcome tells every stream once, in pages of the size that was asked for.
func TestWelcomePages(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	for n := range 10 {
		if err := begins(s, "a", "", n); err != nil {
			t.Fatal(err)
		}
	}
	for size, want := range map[int][]int{3: {3, 3, 3, 1}, 5: {5, 5}, 10: {10}, 11: {10}} {
		w := s.Welcome("a")
		var sizes []int
		told := make(map[wire.StreamID]bool)
		for page := range w.Listing.Pages(size) {
			sizes = append(sizes, len(page))
			for _, x := range page {
				told[x.Stream] = true
			}
		}
		if !slices.Equal(sizes, want) || len(told) != 10 || w.Listing.Count != 10 {
			t.Errorf("pages of %d: %v, with %d of %d streams", size, sizes, len(told), w.Listing.Count)
		}
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
	if got := s.view.catalog.senders.addresses; len(got) != 0 {
		t.Errorf("still counted by address: %v", got)
	}
	if err := s.Append(ctx, datagram(1, "192.0.2.1", 0)); err != nil {
		t.Fatal(err)
	}
	n, err = s.Forget(ctx, StreamFilter{Agent: "udp"}, func(string) bool { return true }) // nothing of it is sent again
	expect("a lossy one of a connected agent", n, 1, err)
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
	if n, err := s.Reassign(ctx, "a", "b", func(a string) bool { return a == "b" }); !errors.Is(err, ErrBusy) || n != 0 {
		t.Errorf("to a connected agent: %d, %v", n, err)
	}
	s.Limits.StreamsPerAgent = 21 // one less than both have
	if n, err := s.Reassign(ctx, "a", "b", idle); err == nil || n != 0 || !strings.Contains(err.Error(), "streams_per_agent") {
		t.Errorf("more than an agent may have: %d, %v", n, err)
	}
	s.Limits.StreamsPerAgent = 22
	if n, err := s.Reassign(ctx, "a", "b", idle); err != nil || n != 20 {
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

// Only a lossy stream leaves something behind, and only of a known one can it be said
// what never came.
func TestTombsAreOfLossyStreams(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	src := newSource()
	src.send(t, s, "one")
	at, tail := int64(len(src.text)), wire.TailHash(src.text)
	end := wire.Batch{Op: wire.OpEnd, Stream: src.id, Epoch: 1, Offset: at, End: at, Before: tail, After: tail, Agent: "a", Input: "agent"}
	if err := s.Append(context.Background(), end); err != nil {
		t.Fatal(err)
	}
	if n := len(s.view.catalog.tombs.byID); n != 0 || s.Status().Streams != 0 {
		t.Errorf("%d tombs are left of a stream that its agent ended", n)
	}
	b := datagram(1, "192.0.2.1", 5)
	b.Epoch = 0
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if n := s.counts.streams.gapLines.Load(); n != 0 {
		t.Errorf("%d lines are missing of a stream that was met just now", n)
	}
}

// A lossy stream without a gap leaves no notice, and its host keeps its colons.
func TestLossyWithoutGap(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	for line := range int64(3) {
		b := datagram(1, "2001:db8::7", line)
		b.Host = "2001:db8::7"
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := logText(t, s); strings.Contains(got, "LOST") || strings.Count(got, " 2001:db8::7 app: ") != 3 {
		t.Errorf("the log holds\n%s", got)
	}
}

// A lossy stream that begins a new epoch, or gets another source, says so in the log's
// state; and what an entry of the table replaced is no candidate to be displaced.
func TestLossyNamesAndEntries(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	for i, change := range []func(b *wire.Batch){func(*wire.Batch) {}, func(b *wire.Batch) { b.Epoch = 2 }, func(b *wire.Batch) { b.Epoch, b.Source = 2, "other" }} {
		b := datagram(1, "192.0.2.1", int64(i))
		change(&b)
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		st := s.view.catalog.streams[streamID(1).Owned(wire.StreamLossy, "udp")]
		if st == nil || st.Epoch != b.Epoch || st.source != b.Source {
			t.Fatalf("known as %+v", st)
		}
	}
	old := &stream{id: idOf(1)}
	(&names{kind: wire.StreamLossy, agent: "udp"}).nameStream(old)
	c := newCatalog()
	entry := appendEntry(nil, old.entry(nil, false))
	if _, err := c.load(append(entry, entry...)); err != nil {
		t.Fatal(err)
	}
	if st := c.senders.all.oldestSingle(); st != c.streams[idOf(1)] {
		t.Error("a stream that was replaced may be displaced")
	}
}
