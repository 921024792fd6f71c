package sink

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"sort"
	"time"

	"fanin/internal/wire"
)

// keys is the table of requests with a key. Each is a small stream, and its entry holds
// how many of its records are committed. They are not streams of the catalog: they
// arrive at any rate and matter for a short time only.
//
// Only committed frames change the table: an extension opens or forgets a key, and a
// record advances it. The writer decides which key to forget and commits that decision,
// so redo gives the same table, whatever the limits and the clock are then.
//
// An entry is 60 bytes, and heads takes at most 4 more for each, so the default 262,144
// keys fit into 16 MiB.
type keys struct {
	list   []keyEntry
	free   place   // the first free entry; the others follow by newer
	heads  []place // by the hash of the id: the first entry of a chain
	seed   maphash.Seed
	count  int
	most   int   // entries to make room for exactly
	floor  int64 // horizon of all senders, in microseconds since 1970: when the incarnation began
	newest int64 // the largest horizon of all senders: where the window begins

	senders []*keySender
	hashes  map[uint64]uint32 // sender by the hash of its name

	broken map[wire.StreamID]bool // committed in part and then forgotten: a repeat doubles lines
	order  []wire.StreamID        // of broken, the oldest first

	dirty   []wire.StreamID // keys that changed since the last checkpoint
	receded []*keySender    // whose horizon changed since the last checkpoint
}

// maxBrokenKeys is how many partial requests are remembered after their keys were
// forgotten.
const maxBrokenKeys = 4 << 10

// place is an index into keys.list plus 1; 0 is none.
type place = uint32

// keyEntry is one key. A key is whole when all records of its request are
// committed: its hash is then that of the content.
type keyEntry struct {
	id            wire.StreamID // as records name it
	content, hash [8]byte       // big endian: 60 bytes need no padding
	seen          uint32        // time of the last record, in seconds since 1970, see part
	records       uint32        // how many are committed
	sender        uint32
	chain         place // the next one with the same head
	older, newer  place // in the sender's list
	hashed, dirty bool
	kind          keyList
	part          uint8 // of a second, in 1/256: belongs to seen
}

// keyList names one of a sender's lists.
type keyList uint8

const (
	listPartial keyList = iota // not all records are committed
	listWhole                  // with a key of the sender's own
	listHashed                 // with a hash of the content as key
	keyLists
)

// keySender is a sender's keys, each list by the time of the last record. Senders
// have equal shares: room is made by those that have most.
type keySender struct {
	hash    uint64
	count   int
	lists   [keyLists]struct{ oldest, newest place }
	horizon int64 // time of the newest key that was forgotten, in microseconds since 1970
	dirty   bool
}

// maxKeySenders is how many senders have shares of their own; the others have one
// together.
const maxKeySenders = 16 << 10

func newKeys() keys {
	return keys{seed: maphash.MakeSeed(), most: defaultKeys, hashes: make(map[uint64]uint32),
		broken: make(map[wire.StreamID]bool)}
}

// partial reports whether some records of the request are not committed yet.
func (k *keyEntry) partial() bool { return k.hash != k.content }

func (k *keyEntry) listed() keyList {
	switch {
	case k.partial():
		return listPartial
	case k.hashed:
		return listHashed
	}
	return listWhole
}

// micros is the time of the last record in microseconds since 1970.
func (k *keyEntry) micros() int64 { return int64(k.seen)*1e6 + (int64(k.part)*1e6+255)/256 }

func (k *keyEntry) setMicros(t int64) {
	t = min(max(t, 0), math.MaxUint32*1e6)
	k.seen, k.part = uint32(t/1e6), uint8(t%1e6*256/1e6)
}

func (k *keyEntry) contentHash() wire.Hash { return wire.Hash(binary.BigEndian.Uint64(k.content[:])) }

func hashBytes(h wire.Hash) (b [8]byte) {
	binary.BigEndian.PutUint64(b[:], uint64(h))
	return b
}

func (k *keyEntry) point() wire.Point {
	return wire.Point{Offset: int64(k.records), Tail: wire.Hash(binary.BigEndian.Uint64(k.hash[:]))}
}

// find returns the key of a request, nil if it is not known. It is valid until the
// next change.
func (t *keys) find(id wire.StreamID) *keyEntry {
	if p := t.place(id); p != 0 {
		return &t.list[p-1]
	}
	return nil
}

func (t *keys) place(id wire.StreamID) place {
	if len(t.heads) == 0 {
		return 0
	}
	for p := *t.head(id); p != 0; p = t.list[p-1].chain {
		if t.list[p-1].id == id {
			return p
		}
	}
	return 0
}

func (t *keys) head(id wire.StreamID) *place {
	return &t.heads[maphash.Bytes(t.seed, id[:])&uint64(len(t.heads)-1)]
}

// open makes a key known, or begins it again.
func (t *keys) open(k keyEntry, sender uint64) {
	t.remove(k.id)
	t.mend(k.id)
	t.grow()
	p := t.free
	if p != 0 {
		t.free = t.list[p-1].newer
	} else {
		t.list = append(t.list, keyEntry{})
		p = place(len(t.list))
	}
	head := t.head(k.id)
	k.chain, k.sender, k.older, k.newer = *head, t.sender(sender), 0, 0
	*head = p
	t.list[p-1] = k
	t.count++
	t.link(p)
	t.touch(&t.list[p-1])
}

// grow makes room for one more key.
func (t *keys) grow() {
	if n := len(t.list); t.free == 0 && n == cap(t.list) {
		larger := max(64, 2*n)
		if n < t.most {
			larger = min(larger, t.most)
		} else {
			larger = n + n/64 + 64
		}
		t.list = append(make([]keyEntry, 0, larger), t.list...)
	}
	if t.count < 3*len(t.heads) {
		return
	}
	t.heads = make([]place, max(64, 2*len(t.heads)))
	for _, s := range t.senders {
		for _, l := range s.lists {
			for p := l.oldest; p != 0; p = t.list[p-1].newer {
				head := t.head(t.list[p-1].id)
				t.list[p-1].chain = *head
				*head = p
			}
		}
	}
}

// sender returns the sender of this hash.
func (t *keys) sender(hash uint64) uint32 {
	if i, ok := t.hashes[hash]; ok {
		return i
	}
	if len(t.hashes) >= maxKeySenders {
		t.sweep()
	}
	if len(t.hashes) >= maxKeySenders {
		const others = 1
		if i, ok := t.hashes[others]; ok {
			return i
		}
		hash = others
	}
	for i, s := range t.senders {
		if s == nil {
			t.senders[i], t.hashes[hash] = &keySender{hash: hash}, uint32(i)
			return uint32(i)
		}
	}
	t.senders = append(t.senders, &keySender{hash: hash})
	t.hashes[hash] = uint32(len(t.senders) - 1)
	return uint32(len(t.senders) - 1)
}

// sweep forgets senders that have no key.
func (t *keys) sweep() {
	for i, s := range t.senders {
		if s != nil && s.count == 0 {
			delete(t.hashes, s.hash)
			t.senders[i] = nil
		}
	}
}

// link makes p the newest of its list.
func (t *keys) link(p place) {
	k := &t.list[p-1]
	s := t.senders[k.sender]
	s.count++
	k.kind = k.listed()
	l := &s.lists[k.kind]
	k.older, k.newer = l.newest, 0
	if l.newest != 0 {
		t.list[l.newest-1].newer = p
	} else {
		l.oldest = p
	}
	l.newest = p
}

// unlink removes p from its list.
func (t *keys) unlink(p place) {
	k := &t.list[p-1]
	s := t.senders[k.sender]
	s.count--
	l := &s.lists[k.kind]
	if k.older != 0 {
		t.list[k.older-1].newer = k.newer
	} else {
		l.oldest = k.newer
	}
	if k.newer != 0 {
		t.list[k.newer-1].older = k.older
	} else {
		l.newest = k.older
	}
}

// remove forgets that a key was ever known.
func (t *keys) remove(id wire.StreamID) {
	p := t.place(id)
	if p == 0 {
		return
	}
	for at := t.head(id); ; at = &t.list[*at-1].chain {
		if *at == p {
			*at = t.list[p-1].chain
			break
		}
	}
	t.unlink(p)
	t.count--
	t.list[p-1] = keyEntry{newer: t.free}
	t.free = p
	t.dirty = append(t.dirty, id)
}

// forget removes a key to make room, or because of its age. From now on the log does
// not know whether an older request of this sender is a repeat.
func (t *keys) forget(id wire.StreamID) {
	k := t.find(id)
	if k == nil {
		return
	}
	t.recede(t.senders[k.sender], k.micros())
	if k.partial() {
		t.breakOff(id)
	}
	t.remove(id)
}

// breakOff remembers a request that was committed in part and is forgotten. The
// oldest such request makes room.
func (t *keys) breakOff(id wire.StreamID) {
	if t.broken[id] {
		return
	}
	if len(t.order) >= maxBrokenKeys {
		t.mend(t.order[0])
	}
	t.broken[id] = true
	t.order = append(t.order, id)
}

// mend is the reverse of breakOff.
func (t *keys) mend(id wire.StreamID) {
	if t.broken[id] {
		delete(t.broken, id)
		t.order = slices.DeleteFunc(t.order, func(x wire.StreamID) bool { return x == id })
		t.dirty = append(t.dirty, id)
	}
}

// recede notes that nothing is known of what s sent before.
func (t *keys) recede(s *keySender, before int64) {
	if before <= s.horizon {
		return
	}
	s.horizon = before
	t.newest = max(t.newest, before)
	if !s.dirty {
		s.dirty = true
		t.receded = append(t.receded, s)
	}
}

// move applies a record of a request.
func (t *keys) move(r *record) {
	p := t.place(r.stream)
	if p == 0 {
		return // forgotten in the same frame
	}
	k := &t.list[p-1]
	t.unlink(p)
	k.records, k.hash = uint32(r.end), hashBytes(r.after)
	k.setMicros(r.time)
	t.link(p)
	t.touch(k)
}

func (t *keys) touch(k *keyEntry) {
	if !k.dirty {
		k.dirty = true
		t.dirty = append(t.dirty, k.id)
	}
}

// horizon is the time in microseconds before which nothing is known of what a
// sender sent: a key that was made then may have been known once.
func (t *keys) horizon(sender uint64, now time.Time, window time.Duration) int64 {
	least := t.floor
	if window > 0 {
		least = max(least, now.Add(-window).UnixMicro())
	}
	if i, ok := t.hashes[sender]; ok {
		least = max(least, t.senders[i].horizon)
	}
	return least
}

// share is the most keys that each sender may keep so that at least over go.
func (t *keys) share(over int) int {
	most := 0
	for _, s := range t.senders {
		if s != nil {
			most = max(most, s.count)
		}
	}
	return sort.Search(most, func(below int) bool { // the smallest that does not free enough
		freed := 0
		for _, s := range t.senders {
			if s != nil {
				freed += max(0, s.count-below-1)
			}
		}
		return freed < over
	})
}

// reset forgets all keys: the log has a new incarnation, and nothing that was sent
// before now is known.
func (t *keys) reset(now time.Time) {
	most := t.most
	*t = newKeys()
	t.most = most
	t.since(now.UnixMicro())
}

// since notes when the log's incarnation began.
func (t *keys) since(began int64) { t.floor, t.newest = began, max(t.newest, began) }
