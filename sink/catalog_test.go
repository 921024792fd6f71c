package sink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"fanin/internal/wire"
)

// Names that end early, or claim more than there is, are an error wherever they end.
func TestNamesTruncated(t *testing.T) {
	n := names{kind: wire.StreamAgent, own: streamID(1), agent: "a", address: "192.0.2.1", host: "h", source: "app", identity: "\x01\x02"}
	whole := n.append(nil)
	for end := range whole {
		if _, err := new(names).parse(whole[:end:end], false); !errors.Is(err, errNames) {
			t.Errorf("%d of %d bytes: %v", end, len(whole), err)
		}
	}
	v1 := whole[namesHeader:]
	for end := range len(v1) - len(n.identity) - 2 {
		if _, err := new(names).parse(v1[:end:end], true); !errors.Is(err, errNames) {
			t.Errorf("version 1, %d bytes: %v", end, err)
		}
	}
	for at := namesHeader; at < len(whole); {
		b := slices.Clone(whole)
		length := int(binary.LittleEndian.Uint16(b[at:]))
		binary.LittleEndian.PutUint16(b[at:], 0xffff)
		if _, err := new(names).parse(b, false); !errors.Is(err, errNames) {
			t.Errorf("a length of 65,535 at %d: %v", at, err)
		}
		at += 2 + length
	}
	var got names
	if rest, err := got.parse(append(whole, "rest"...), false); err != nil || string(rest) != "rest" || got != n {
		t.Errorf("parsed as %+v, %q left, %v", got, rest, err)
	}
}

// TestCatalogModel does random things to a catalog. Two others follow it: one by what
// changed at each checkpoint, one by the whole. They are always the same as it, and
// what it counts for the limits is what its streams add up to.
func TestCatalogModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := catalogModel{t: t, rand: rand.New(rand.NewPCG(seed, 1)), c: newCatalog(), follower: newCatalog()}
			for range 300 {
				m.step()
				m.sums()
			}
			m.checkpoint()
		})
	}
}

type catalogModel struct {
	t           *testing.T
	rand        *rand.Rand
	c, follower *catalog
	now         int64
	generation  uint64
}

func (m *catalogModel) step() {
	m.now++
	switch n := m.rand.IntN(20); {
	case n < 14:
		m.apply()
	case n < 16:
		m.generation++
		g := &generation{number: m.generation, name: fmt.Sprint("log-", m.generation), inode: 7, size: m.now, state: stateLive, opened: time.UnixMicro(m.now), closed: time.UnixMicro(m.now)}
		m.c.generations = append(m.c.generations, g)
		m.c.touchGeneration(g)
		m.c.touchGeneration(g)
	case n < 17 && len(m.c.generations) > 0:
		i := m.rand.IntN(len(m.c.generations))
		g := m.c.generations[i]
		m.c.touchGeneration(g)
		if g.size++; m.rand.IntN(2) == 0 {
			m.c.generations = slices.Delete(m.c.generations, i, i+1)
		}
	default:
		m.checkpoint()
	}
}

// apply commits one frame: a stream is opened, moved on or ended.
func (m *catalogModel) apply() {
	n := m.rand.IntN(12)
	kind := []wire.StreamKind{wire.StreamAgent, wire.StreamLossy, wire.StreamNATS}[n%3]
	owner, address := fmt.Sprint("a", n%2), []string{"", "192.0.2.1", "192.0.2.2"}[m.rand.IntN(3)]
	own := streamID(n)
	id := m.c.id(kind, owner, own)
	f := &frame{}
	st := m.c.streams[id]
	r := record{stream: id, epoch: 1, op: wire.OpData, lossy: kind == wire.StreamLossy, end: m.now, after: wire.Hash(m.now)}
	switch {
	case st == nil, m.rand.IntN(4) == 0:
		r.op = wire.OpOpen
		f.names = []names{{kind: kind, own: own, agent: owner, address: address, host: "h", source: fmt.Sprint("s", m.now%3)}}
	case m.rand.IntN(4) == 0:
		r.op = wire.OpEnd
		if m.rand.IntN(2) == 0 {
			r.after = 0
		}
	}
	f.records = []record{r}
	if r.op == wire.OpOpen && r.lossy { // its datagram is in the same frame
		r.op = wire.OpData
		f.records = append(f.records, r)
	}
	m.c.apply(f, m.now)
	if r.op == wire.OpEnd && (m.c.tombs.byID[id] != nil) != (r.lossy && r.after > 0) {
		m.t.Fatalf("a stream ended with %+v; its tomb is %+v", r, m.c.tombs.byID[id])
	}
	if st := m.c.streams[id]; (st == nil) != (r.op == wire.OpEnd) {
		m.t.Fatalf("after %v stream %v is known: %v", r.op, id, st != nil)
	}
}

// checkpoint has the follower read what changed, and a new catalog the whole.
func (m *catalogModel) checkpoint() {
	m.t.Helper()
	changed := len(m.c.dirty) + len(m.c.dirtyGens) + len(m.c.tombs.dirty)
	if distinct := len(distinct(m.c.dirty)) + len(distinct(m.c.dirtyGens)) + len(distinct(m.c.tombs.dirty)); changed != distinct {
		m.t.Fatalf("%d entries for %d changes", changed, distinct)
	}
	if _, err := m.follower.load(m.c.delta(nil)); err != nil {
		m.t.Fatal(err)
	}
	if b := m.c.delta(nil); len(b) != 0 {
		m.t.Fatalf("changes right after a checkpoint: %d bytes", len(b))
	}
	whole := newCatalog()
	if _, err := whole.load(m.c.all(nil)); err != nil {
		m.t.Fatal(err)
	}
	for _, x := range []*catalog{m.follower, whole} {
		m.same(x)
	}
	if m.rand.IntN(3) == 0 { // a restart; the follower goes on with what changes from here
		m.c = whole
	}
}

func distinct[T comparable](list []T) map[T]bool {
	set := make(map[T]bool)
	for _, x := range list {
		set[x] = true
	}
	return set
}

func (m *catalogModel) same(x *catalog) {
	m.t.Helper()
	if len(x.streams) != len(m.c.streams) || len(x.tombs.byID) != len(m.c.tombs.byID) || len(x.generations) != len(m.c.generations) {
		m.t.Fatalf("%d streams, %d tombs, %d generations; want %d, %d and %d", len(x.streams), len(x.tombs.byID), len(x.generations),
			len(m.c.streams), len(m.c.tombs.byID), len(m.c.generations))
	}
	for id, st := range m.c.streams {
		if got := x.streams[id]; got == nil || string(got.entry(nil, false)) != string(st.entry(nil, false)) {
			m.t.Fatalf("stream %v was read as %+v, want %+v", id, got, st)
		}
	}
	for id, want := range m.c.tombs.byID {
		if got := x.tombs.byID[id]; string(got.entry(nil, false)) != string(want.entry(nil, false)) {
			m.t.Fatalf("tomb %v was read as %+v, want %+v", id, got, want)
		}
	}
	for i, g := range m.c.generations {
		if got := x.generations[i]; string(got.entry(nil, false)) != string(g.entry(nil, false)) {
			m.t.Fatalf("generation %d was read as %+v, want %+v", g.number, got, g)
		}
	}
	if !reflect.DeepEqual(x.senders.addresses, m.c.senders.addresses) || x.senders.unproven != m.c.senders.unproven || x.senders.all.streams != m.c.senders.all.streams {
		m.t.Fatalf("counted %+v, want %+v", x.senders, m.c.senders)
	}
}

// sums counts the streams once more.
func (m *catalogModel) sums() {
	m.t.Helper()
	addresses, lossy, agents := make(map[string]int), make(map[string]int), make(map[string]int)
	unproven, all := 0, 0
	for _, st := range m.c.streams {
		switch o := st.origin.Value(); {
		case o.kind == wire.StreamLossy:
			lossy[o.address]++
			all++
		case o.kind == wire.StreamAgent:
			agents[o.agent]++
			if o.address != "" {
				addresses[o.address]++
				unproven++
			}
			if list := m.c.agents[o.agent]; int(st.index) >= len(list) || list[st.index] != st {
				m.t.Fatalf("agent %q does not have stream %v at %d", o.agent, st.id, st.index)
			}
		}
		if m.c.tombs.byID[st.id] != nil {
			m.t.Fatalf("stream %v is known and has a tomb", st.id)
		}
	}
	s := &m.c.senders
	if !reflect.DeepEqual(s.addresses, addresses) || s.unproven != unproven || s.all.streams != all || len(s.lossy) != len(lossy) {
		m.t.Fatalf("counted %+v; there are %v, %v, %d unproven", s, addresses, lossy, unproven)
	}
	for address, n := range lossy {
		if s.lossy[address].streams != n {
			m.t.Fatalf("%d lossy streams of %q, want %d", s.lossy[address].streams, address, n)
		}
	}
	for agent, list := range m.c.agents {
		if len(list) != agents[agent] || len(list) == 0 {
			m.t.Fatalf("%d streams of agent %q, want %d", len(list), agent, agents[agent])
		}
	}
	m.singles(&s.all)
}

// singles checks that the streams which began with one batch are there, oldest first.
func (m *catalogModel) singles(l *lossySender) {
	m.t.Helper()
	var want *stream
	for _, st := range m.c.streams {
		if st.lossy() && st.hadOneBatch() && (want == nil || st.seen < want.seen) {
			want = st
		}
	}
	if got := l.oldestSingle(); got != want {
		m.t.Fatalf("the oldest single stream is %+v, want %+v", got, want)
	}
}

// A stream that a new one displaced, and of which a batch waits in the same group,
// begins anew: its batch is not added to the stream that has just ended.
func TestDisplacedWithBatchInGroup(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{Lossy: 1}})
	together(t, s, datagram(1, "192.0.2.1", 0))
	if got := together(t, s, datagram(2, "192.0.2.1", 0), datagram(1, "192.0.2.1", 5)); got[0] || got[1] {
		t.Fatalf("refused: %v", got)
	}
	if len(s.view.catalog.streams) != 1 || s.view.catalog.streams[streamID(1).Owned(wire.StreamLossy, "udp")] == nil {
		t.Errorf("known are %v; want stream 1, which came last", s.view.catalog.streams)
	}
}

// Datagrams that follow each other without a gap are all written, and a stream that
// goes on writes one record for each.
func TestLossyContiguous(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	err := s.do(context.Background(), func(w *writer) error {
		at := int64(0)
		for line := range int64(4) {
			b := datagram(1, "192.0.2.1", line)
			b.Offset, b.End = at, at+int64(len(b.Text))
			if line == 3 {
				b.Epoch, b.FirstLine, b.Offset, b.End = 2, 0, 0, int64(len(b.Text))
			}
			if outcome, err := w.acceptStream(&b); outcome != nil || err != nil {
				return errors.Join(outcome, err)
			}
			want := 1
			if line == 0 || line == 3 {
				want = 2 // it begins, or begins a new epoch
			}
			if got := len(w.group.records); got != want {
				t.Errorf("datagram %d has %d records, want %d", line, got, want)
			}
			if err := w.commit(); err != nil {
				return err
			}
			at = b.End
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := s.counts.of("udp-agent"); n.Counts().Written != 4 || n.Counts().Duplicate != 0 || s.counts.streams.gapLines.Load() != 0 {
		t.Errorf("%d written, %d duplicate, %d missing; want 4, 0 and 0", n.Counts().Written, n.Counts().Duplicate, s.counts.streams.gapLines.Load())
	}
}

// With an expiry below zero lossy streams never expire; else they are looked through
// once a minute.
func TestLossyExpiryPace(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Limits: Limits{LossyExpiry: -1}})
	together(t, s, datagram(1, "192.0.2.1", 0))
	age(t, s, 1000*time.Hour)
	if n := s.Status().Streams; n != 1 {
		t.Errorf("%d streams; want 1, which never expires", n)
	}
	s = open(t, &Sink{Sync: syncNone, Limits: Limits{LossyExpiry: time.Hour}})
	together(t, s, datagram(1, "192.0.2.1", 0))
	err := s.do(context.Background(), func(w *writer) error {
		now := time.Now()
		w.lastExpiry = now
		later := now.Add(time.Hour)
		for _, st := range w.catalog.streams {
			st.seen = now.Add(-2 * time.Hour).UnixMicro()
		}
		w.lastExpiry = later.Add(-expireEvery / 2)
		if err := w.expire(later); err != nil || len(w.catalog.streams) != 1 {
			t.Errorf("looked through after half a minute: %d streams, %v", len(w.catalog.streams), err)
		}
		w.lastExpiry = later.Add(-expireEvery)
		return w.expire(later)
	})
	if err != nil || s.Status().Streams != 0 {
		t.Errorf("after a minute %d streams are left, want none (%v)", s.Status().Streams, err)
	}
}

// A table that ends within an entry is an error, wherever it ends.
func TestTableTruncated(t *testing.T) {
	_, whole := goldenEntries()
	borders := map[int]bool{0: true}
	for at := 0; at < len(whole); {
		at += 8 + int(binary.LittleEndian.Uint32(whole[at:]))
		borders[at] = true
	}
	for end := range len(whole) + 1 {
		at, err := newCatalog().load(whole[:end:end])
		if (err == nil) != borders[end] || at > end {
			t.Errorf("%d bytes: read up to %d, %v", end, at, err)
		}
	}
}

// More streams than one frame ends are all given, and all forgotten.
func TestManyGivenAndForgotten(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	ctx := context.Background()
	const n = endsPerFrame + endsPerFrame/2
	for n := range n {
		together(t, s, wire.Batch{Op: wire.OpOpen, Stream: streamID(n), Epoch: 1, Agent: "a", Host: "h", Source: "app", Input: "agent"})
	}
	if got, err := s.Reassign(ctx, "a", "b", idle); got != n || err != nil {
		t.Errorf("gave %d streams of %d: %v", got, n, err)
	}
	if got := len(s.view.catalog.agents["b"]); got != n || s.view.catalog.agents["a"] != nil {
		t.Errorf("b has %d streams, want %d; a has %d", got, n, len(s.view.catalog.agents["a"]))
	}
	seen := make(map[int64]int)
	for _, st := range s.view.catalog.streams {
		seen[st.seen]++
	}
	before := slices.Max(slices.Collect(maps.Keys(seen))) // those seen at this very moment are not older
	got, err := s.Forget(ctx, StreamFilter{Agent: "b", Before: time.UnixMicro(before)}, idle)
	if want := n - seen[before]; got != want || err != nil {
		t.Errorf("forgot %d streams older than the youngest, want %d: %v", got, want, err)
	}
	if got, err := s.Forget(ctx, StreamFilter{Agent: "b"}, idle); got != seen[before] || err != nil || len(s.view.catalog.streams) != 0 {
		t.Errorf("forgot %d more streams, want %d; %d are left, %v", got, seen[before], len(s.view.catalog.streams), err)
	}
}
