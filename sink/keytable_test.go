package sink

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"fanin/ingest/key"
	"fanin/internal/wire"
)

// keyDump is all that a table of keys knows, but for the order of what was forgotten.
func keyDump(t *keys) string {
	var d []string
	for _, s := range t.senders {
		if s == nil || s.count == 0 && s.horizon == 0 {
			continue
		}
		line := fmt.Sprintf("sender %x horizon %d:", s.hash, s.horizon)
		for _, l := range s.lists {
			line += " |"
			for p := l.oldest; p != 0; p = t.list[p-1].newer {
				k := &t.list[p-1]
				line += fmt.Sprintf(" %s %x %x %d %d %v", k.id.String()[:6], k.content, k.hash, k.records, k.seen, k.hashed)
			}
		}
		d = append(d, line)
	}
	for id := range t.broken {
		d = append(d, fmt.Sprintf("broken %s", id))
	}
	slices.Sort(d)
	return fmt.Sprintf("%d keys since %d\n%s", t.count, t.floor, strings.Join(d, "\n"))
}

// check looks whether the parts of a table agree.
func (t *keys) check(tb testing.TB) {
	tb.Helper()
	listed, free := 0, 0
	for i, s := range t.senders {
		if s == nil {
			continue
		}
		n := 0
		for list, l := range s.lists {
			older := place(0)
			for p := l.oldest; p != 0; p = t.list[p-1].newer {
				k := &t.list[p-1]
				if k.older != older || k.sender != uint32(i) || k.kind != keyList(list) || k.listed() != k.kind || t.place(k.id) != p {
					tb.Fatalf("key %x is in a wrong place: %+v", k.id, k)
				}
				older = p
				n++
			}
			if l.newest != older {
				tb.Fatalf("list %d of sender %x ends elsewhere", list, s.hash)
			}
		}
		if n != s.count || t.hashes[s.hash] != uint32(i) {
			tb.Fatalf("sender %x has %d keys and counts %d", s.hash, n, s.count)
		}
		listed += n
	}
	for p := t.free; p != 0; p = t.list[p-1].newer {
		free++
	}
	if listed != t.count || listed+free != len(t.list) || len(t.broken) != len(t.order) {
		tb.Fatalf("%d keys are listed, %d counted; %d places of %d are free; %d broken of %d", listed, t.count, free, len(t.list), len(t.broken), len(t.order))
	}
}

// A table that changes at random, and one that follows by the entries of its
// checkpoints, know the same; so does a plain map.
func TestKeysAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c, model := newCatalog(), make(map[wire.StreamID]int64)
		c.keys.most = 100
		var disk []byte
		for range 6000 { // so many keys that the chains are made anew
			id := wire.KeyID("x", fmt.Append(nil, rnd.IntN(900)))
			switch k := c.keys.find(id); {
			case rnd.IntN(4) == 0:
				c.keys.forget(id)
				delete(model, id)
			case k == nil || rnd.IntN(8) == 0:
				c.keys.open(keyEntry{id: id, content: hashBytes(3), hashed: rnd.IntN(2) == 0}, uint64(2+rnd.IntN(5)))
				model[id] = 0
			default:
				model[id]++
				c.keys.move(&record{stream: id, end: model[id], after: wire.Hash(1 + rnd.IntN(3)), time: int64(rnd.IntN(1000)) * 1e6})
			}
			if rnd.IntN(50) == 0 {
				disk = c.delta(disk)
			}
		}
		disk = c.delta(disk)
		c.keys.check(t)
		if c.keys.count != len(model) {
			t.Fatalf("seed %d: %d keys, want %d", seed, c.keys.count, len(model))
		}
		for id, n := range model {
			if k := c.keys.find(id); k == nil || int64(k.records) != n {
				t.Fatalf("seed %d: key %x is %+v, want %d records", seed, id, k, n)
			}
		}
		followed, whole := newCatalog(), newCatalog()
		_, err1 := followed.load(disk)
		_, err2 := whole.load(c.all(nil))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		whole.keys.check(t)
		followed.keys.check(t)
		if got, want := keyDump(&whole.keys), keyDump(&c.keys); got != want {
			t.Fatalf("seed %d: a whole table: %s", seed, difference(got, want))
		}
		// Within a checkpoint, keys follow each other as they first changed.
		if got, want := sortedDump(&followed.keys), sortedDump(&c.keys); got != want {
			t.Fatalf("seed %d: the entries: %s", seed, difference(got, want))
		}
	}
}

// difference is where two texts differ first.
func difference(got, want string) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	at = max(0, at-100)
	return fmt.Sprintf("%.200q, want %.200q", got[min(at, len(got)):], want[min(at, len(want)):])
}

// sortedDump is keyDump whatever the order of keys in a list.
func sortedDump(t *keys) string {
	f := strings.Fields(keyDump(t))
	slices.Sort(f)
	return strings.Join(f, " ")
}

// The default table takes 16 MiB, also when keys come and go.
func TestKeysMemory(t *testing.T) {
	var l KeyLimits
	l.defaults()
	if n := unsafe.Sizeof(keyEntry{}); n > 60 {
		t.Errorf("a key takes %d bytes", n)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := newCatalog()
	c.keys.most = l.Keys
	var id wire.StreamID
	for i := range 3 * l.Keys {
		id = wire.StreamID{byte(i), byte(i >> 8), byte(i >> 16)}
		c.keys.open(keyEntry{id: id, hash: hashBytes(1), content: hashBytes(1)}, 1)
		if i >= l.Keys {
			oldest := c.keys.senders[0].lists[listWhole].oldest
			c.keys.forget(c.keys.list[oldest-1].id)
		}
		c.keys.clean()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); n > 17<<20 || c.keys.count != l.Keys {
		t.Errorf("%d keys take %d bytes", c.keys.count, n)
	}
	runtime.KeepAlive(c)
}

// A start reads a full table without making it larger again and again.
func TestKeysLoadMemory(t *testing.T) {
	c := newCatalog()
	for i := range defaultKeys {
		id := wire.StreamID{byte(i), byte(i >> 8), byte(i >> 16)}
		c.keys.open(keyEntry{id: id, hash: hashBytes(1), content: hashBytes(1)}, 1)
	}
	b := c.all(nil)
	loaded := newCatalog()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := loaded.load(b); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 96<<20 || loaded.keys.count != defaultKeys {
		t.Errorf("%d keys of %d: %d bytes of memory were made", loaded.keys.count, defaultKeys, n)
	}
}

// A key that changes often is written once by the next checkpoint.
func TestKeyIsWrittenOnce(t *testing.T) {
	k := newKeys()
	k.open(keyEntry{id: idOf(1), content: hashBytes(9)}, 1)
	for i := range 5 {
		k.move(&record{stream: idOf(1), end: int64(i + 1), after: wire.Hash(i + 1)})
	}
	if b := k.delta(nil); len(b) != len(appendEntry(nil, k.entry(nil, idOf(1)))) {
		t.Errorf("%d bytes", len(b))
	}
	if b := k.delta(nil); len(b) > 0 {
		t.Errorf("and %d bytes more", len(b))
	}
	k.open(keyEntry{id: idOf(2), content: hashBytes(9)}, 1)
	k.open(keyEntry{id: idOf(3), content: hashBytes(9)}, 1)
	k.delta(nil)
	k.senders[0].horizon = -1
	k.forget(idOf(2))
	k.senders[0].horizon = -1
	k.forget(idOf(3))
	lost := len(appendEntry(nil, k.entry(nil, idOf(2))))
	if b := k.delta(nil); len(b) != 2*lost+len(appendEntry(nil, horizonEntry(nil, 1, 0))) {
		t.Errorf("%d bytes for two lost keys of %d and a horizon", len(b), lost)
	}
}

// Room is made by those that have most, down to equal shares.
func TestKeyShares(t *testing.T) {
	for _, x := range []struct{ counts, left []int }{
		{[]int{10}, []int{9}},
		{[]int{10, 3}, []int{9, 3}},
		{[]int{10, 3, 10}, []int{9, 3, 9}},
		{[]int{20, 3, 10}, []int{5, 3, 5}},
		{[]int{7, 0, 1}, []int{2, 0, 1}},
	} {
		k := newKeys()
		over := 0
		for i, n := range x.counts {
			over += n - x.left[i]
			for j := range n {
				k.open(keyEntry{id: wire.KeyID("x", []byte{byte(i), byte(j)})}, uint64(i))
			}
		}
		share := k.share(over)
		for i, n := range x.counts {
			if got := min(n, share); got != x.left[i] {
				t.Errorf("of %v, %d too many: a share of %d", x.counts, over, share)
			}
		}
	}
}

// Senders without keys make room for new ones, and the rest share one share.
func TestKeySenders(t *testing.T) {
	k := newKeys()
	id := func(i int) wire.StreamID { return wire.StreamID{byte(i), byte(i >> 8), 1} }
	for i := range maxKeySenders + 5 {
		k.open(keyEntry{id: id(i)}, uint64(1000+i))
	}
	if len(k.hashes) != maxKeySenders+1 || k.senders[k.hashes[1]].count != 5 {
		t.Fatalf("%d senders, %d keys of others", len(k.hashes), k.senders[k.hashes[1]].count)
	}
	k.check(t)
	for i := range 100 {
		k.remove(id(i))
	}
	k.open(keyEntry{id: id(1 << 15)}, 77)
	if k.senders[k.hashes[77]].count != 1 {
		t.Error("the new sender has no share of its own")
	}
	k.check(t)
}

// Requests that were committed in part and forgotten are remembered, the latest ones.
func TestBrokenKeysAreBounded(t *testing.T) {
	c, followed := newCatalog(), newCatalog()
	k := &c.keys
	var entries []byte
	id := func(i int) wire.StreamID { return wire.StreamID{byte(i), byte(i >> 8), 1} }
	for i := range maxBrokenKeys + 10 {
		k.open(keyEntry{id: id(i), content: hashBytes(1)}, 1)
		entries = k.delta(entries)
		k.forget(id(i))
		entries = k.delta(entries)
	}
	if _, err := followed.load(entries); err != nil || sortedDump(&followed.keys) != sortedDump(k) {
		t.Errorf("the entries say otherwise: %v", err)
	}
	if len(k.broken) != maxBrokenKeys || k.broken[id(9)] || !k.broken[id(10)] {
		t.Errorf("%d are remembered", len(k.broken))
	}
	k.open(keyEntry{id: id(10), content: hashBytes(1)}, 1)
	if k.broken[id(10)] || len(k.order) != maxBrokenKeys-1 {
		t.Error("one that began again is still remembered as broken")
	}
	k.check(t)
}

func TestKeyClock(t *testing.T) {
	now := time.Unix(1795366800, 0)
	l := KeyLimits{}
	l.defaults()
	old := func(age time.Duration, hashed bool) bool {
		k := &keyEntry{seen: uint32(now.Add(-age).Unix()), hashed: hashed, hash: hashBytes(1), content: hashBytes(1)}
		return l.tooOld(k, now)
	}
	for _, x := range []struct {
		age    time.Duration
		hashed bool
		want   bool
	}{
		{72 * time.Hour, false, false}, {72*time.Hour + time.Second, false, true}, {10 * time.Minute, true, false}, {10*time.Minute + time.Second, true, true},
		{-24 * time.Hour, false, false}, {-25 * time.Hour, false, true}, {-25 * time.Hour, true, true},
	} {
		if got := old(x.age, x.hashed); got != x.want {
			t.Errorf("a key of age %v, hashed %v: too old %v", x.age, x.hashed, got)
		}
	}
	for _, x := range []struct{ set, want int64 }{
		{-5, 0}, {1795366800500000, 1795366800500000}, {1795366800999999, 1795366800996094}, {1 << 62, math.MaxUint32 * 1e6},
	} {
		var k, again keyEntry
		k.setMicros(x.set)
		again.setMicros(k.micros())
		if k.micros() != x.want || again != k {
			t.Errorf("the time %d is kept as %d, and that as %d", x.set, k.micros(), again.micros())
		}
	}
	l.Window = -1
	if old(1000*time.Hour, false) {
		t.Error("a key is too old for a window without end")
	}
}

// A table without keys and extensions has no entry that the releases before this one
// refuse, also when a log had some once and a start cleaned up.
func TestTableWithoutKeys(t *testing.T) {
	c := newCatalog()
	c.keys.reset(time.Now())
	if b := c.delta(c.all(nil)); len(b) > 0 {
		t.Errorf("an empty catalog is written as %x", b)
	}
	x := extension{wire.FirstExtensionKind, "a", "1"}
	c.extensions.apply(&x)
	if once, again := c.delta(nil), c.delta(nil); len(once) == 0 || len(again) > 0 {
		t.Errorf("a value is written as %x, and again as %x", once, again)
	}
	x.value = ""
	c.extensions.apply(&x)
	c.keys.open(keyEntry{id: idOf(1)}, 1)
	c.keys.remove(idOf(1))
	c.delta(nil)
	if b := c.all(nil); len(b) > 0 {
		t.Errorf("a catalog that is empty again is written as %x", b)
	}
}

// Of senders that have equally many keys, no more lose one than there must.
func TestTrimmedKeys(t *testing.T) {
	s := open(t, &Sink{Keys: KeyLimits{Keys: 5}})
	for i := range 6 {
		r := keyRequest(fmt.Sprint(i), 1)
		r.Sender.Login = fmt.Sprint("sender ", i%3)
		appendKey(t, s, r, written)
	}
	keysTrimmed(t, s, 5)
	if n := s.counts.keys.full.Load(); n != 1 {
		t.Errorf("%d keys were forgotten, want 1", n)
	}

	s = open(t, &Sink{Path: closed(t, s), Keys: KeyLimits{Keys: 2}}) // several go at once
	appendKey(t, s, keyRequest("one more", 1), written)
	keysTrimmed(t, s, 2)
	if n := s.counts.keys.full.Load(); n != 4 {
		t.Errorf("%d keys were forgotten, want 4", n)
	}
}

func closed(t *testing.T, s *Sink) (path string) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s.Path
}

// Old keys are forgotten a bounded number to a frame, and until none is left.
func TestOldKeysGoInParts(t *testing.T) {
	const n = 2*endsPerFrame + 10
	c := new(clock)
	s := open(t, &Sink{Sync: syncNone, env: environment{now: c.now}, Keys: KeyLimits{Window: time.Hour}})
	q := &key.Requests{Log: s}
	for i := range n {
		if _, err := q.Append(context.Background(), keyRequest(fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	c.step(2 * time.Hour)
	err := s.do(context.Background(), func(w *writer) error {
		w.keyClock.expired = time.Time{}
		for _, want := range []int{n - endsPerFrame, n - 2*endsPerFrame, 0} {
			if !w.keyClock.expired.IsZero() {
				t.Error("it was done too early")
			}
			if err := w.expireKeys(); err != nil {
				return err
			}
			if got := w.catalog.keys.count; got != want {
				t.Errorf("%d keys are left, want %d", got, want)
			}
		}
		if w.keyClock.expired.IsZero() {
			t.Error("it was never done")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.counts.keys.old.Load(); got != n {
		t.Errorf("%d counted, want %d", got, n)
	}
}
