package sink

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

// KeyLimits bound the table of requests with a key. Zero fields get the defaults.
type KeyLimits struct {
	Keys         int           // default 262,144, which need 16 MiB
	Window       time.Duration // forget a key this long after its last record; default 72 h, < 0 never
	HashedWindow time.Duration // the same of keys that are a hash of the content; default 10 min
}

const defaultKeys = 256 << 10

func (l *KeyLimits) defaults() {
	l.Keys = cmp.Or(l.Keys, defaultKeys)
	l.Window = cmp.Or(l.Window, 72*time.Hour)
	l.HashedWindow = cmp.Or(l.HashedWindow, 10*time.Minute)
}

// keyOpening is the value of the extension that opens a key; an empty value forgets the
// key. Little endian, 17 bytes:
//
//	 0 content  RecordHash of all records
//	 8 sender   first 8 bytes of the SHA-256 of the sender's name
//	16 hashed   1: the key is a hash of the content
type keyOpening struct {
	content wire.Hash
	sender  uint64
	hashed  bool
}

const keyOpeningSize = 17

func (o *keyOpening) extension(id wire.StreamID) extension {
	b := binary.LittleEndian.AppendUint64(nil, uint64(o.content))
	b = append(binary.LittleEndian.AppendUint64(b, o.sender), 0)
	if o.hashed {
		b[16] = 1
	}
	return extension{extensionKey, string(id[:]), string(b)}
}

func validKeyExtension(x *extension) bool {
	return len(x.name) == len(wire.StreamID{}) &&
		(x.value == "" || len(x.value) == keyOpeningSize && x.value[16] <= 1)
}

// apply opens or forgets the key that an extension names.
func (t *keys) apply(x *extension) {
	id := wire.StreamID([]byte(x.name))
	if x.value == "" {
		t.forget(id)
		return
	}
	le, v := binary.LittleEndian, []byte(x.value)
	t.open(keyEntry{id: id, content: hashBytes(wire.Hash(le.Uint64(v))), hashed: v[16] == 1}, le.Uint64(v[8:]))
}

// senderHash identifies a sender in the table of keys.
func senderHash(b *wire.Batch) uint64 {
	sum := sha256.Sum256([]byte(cmp.Or(b.Agent, b.Address)))
	return binary.LittleEndian.Uint64(sum[:])
}

// keyClock measures the age of keys. Like the janitor, it does not trust a clock that
// jumped.
type keyClock struct {
	now     func() time.Time
	began   time.Time
	guard   clockGuard
	expired time.Time // when keys were looked through last
}

// newKeyClock begins at now; before is the wall clock at the last checkpoint.
func newKeyClock(before time.Time, now func() time.Time) keyClock {
	return keyClock{now: now, began: time.Now(), guard: newClockGuard(before, now())}
}

// read returns the time, and whether ages may be judged by it.
func (c *keyClock) read() (now time.Time, trusted bool) {
	now = c.now()
	c.guard.observe(now, time.Since(c.began))
	return now, c.guard.trusted()
}

// window is how long a key is known.
func (l *KeyLimits) window(k *keyEntry) time.Duration {
	if k.listed() == listHashed {
		return l.HashedWindow
	}
	return l.Window
}

// tooOld reports whether k is older than its window, or so far in the future that
// its time was wrong.
func (l *KeyLimits) tooOld(k *keyEntry, now time.Time) bool {
	age := now.Sub(time.UnixMicro(k.micros()))
	return l.window(k) > 0 && (age > l.window(k) || age < -clockJump)
}

// acceptKey compares a batch of a request with its key, and adds its lines to the group.
func (w *writer) acceptKey(id wire.StreamID, b *wire.Batch) (outcome, fatal error) {
	n := w.s.counts.of(b.Input)
	k := w.catalog.keys.find(id)
	if k != nil && k.hashed && b.Offset == 0 {
		// Equal content is no repeat for ever, so this window is kept to the second.
		if now, trusted := w.keyClock.read(); trusted && w.s.Keys.tooOld(k, now) {
			w.beginKey(id, k, b)
			return w.acceptText(keyStream(id, b), b)
		}
	}
	switch k.compare(b) {
	case repeat:
		b.Key.Repeat = true
		n.Duplicate(countLines(b.Text))
		if k.hashed && b.Offset == 0 {
			w.s.counts.keys.duplicateContent.Add(1)
		}
		return nil, nil
	case otherContent:
		n.Rejected(counters.Content, countLines(b.Text))
		return wire.ErrOtherContent, nil
	case outOfPlace: // nothing is counted: the input sends the same lines again at once, divided otherwise
		if k == nil {
			return &wire.Expected{}, nil
		}
		return &wire.Expected{Known: true, Watermark: wire.Watermark{Point: k.point()}}, nil
	}
	if k == nil {
		w.beginKey(id, nil, b)
	}
	return w.acceptText(keyStream(id, b), b)
}

// otherContent is the verdict on a batch whose key was used for another request.
const otherContent verdict = outOfPlace + 1

// compare compares a batch with what is committed of its request.
func (k *keyEntry) compare(b *wire.Batch) verdict {
	switch {
	case k == nil && b.Offset == 0:
		return fits
	case k == nil:
		return outOfPlace
	case k.content != hashBytes(b.Key.Content):
		return otherContent
	case b.End < int64(k.records):
		return repeat // the content is the same, so every part of it is
	case b.End == int64(k.records) && k.hash == hashBytes(b.After):
		return repeat
	case b.Offset == int64(k.records) && k.hash == hashBytes(b.Before) && k.partial():
		return fits
	case b.End == int64(k.records) || b.Offset == int64(k.records):
		return otherContent
	}
	return outOfPlace
}

// beginKey opens the key of b in the frame that holds b. old is the key as it was
// known until now, if it was.
func (w *writer) beginKey(id wire.StreamID, old *keyEntry, b *wire.Batch) {
	t := &w.catalog.keys
	sender := senderHash(b)
	now, _ := w.keyClock.read()
	doubled := t.broken[id] || old != nil && old.partial() ||
		b.Key.Made != 0 && b.Key.Made < t.horizon(sender, now, w.s.Keys.Window)
	if doubled {
		b.Key.MaybeDoubled = true
		w.s.counts.keys.maybeDoubled.Add(1)
	}
	opening := keyOpening{b.Key.Content, sender, b.Key.Hashed}
	w.group.addExtension(opening.extension(id))
}

// keyStream is what the layout needs to know of a request. The catalog does not
// know it.
func keyStream(id wire.StreamID, b *wire.Batch) *stream {
	st := &stream{id: id}
	n := namesOf(b)
	n.nameStream(st)
	return st
}

// forgetKey has the group forget a key. The group must not move it.
func (w *writer) forgetKey(k *keyEntry) {
	w.group.streams[k.id] = true
	w.group.addExtension(extension{kind: extensionKey, name: string(k.id[:])})
}

// trimKeys has the new group forget as many keys as there are too many, of the
// senders that have most: what is left then are equal shares, and what some sender
// has below its share is not touched. It is called when nothing is in the group. The
// frame that carries this is the next one, whatever it is for.
func (w *writer) trimKeys() {
	t := &w.catalog.keys
	over := t.count - w.s.Keys.Keys
	if over <= 0 {
		return
	}
	share := t.share(over)
	w.s.counts.keys.full.Add(uint64(over))
	for _, s := range t.senders {
		if s != nil && s.count > share && over > 0 {
			over -= s.trimmed(t, min(s.count-share, over), w.forgetKey)
		}
	}
}

// trimmed calls forget for n keys of s: the oldest whole ones, and partial ones only
// if there are no others.
func (s *keySender) trimmed(t *keys, n int, forget func(*keyEntry)) (done int) {
	at := [keyLists]place{}
	for i := range s.lists {
		at[i] = s.lists[i].oldest
	}
	for ; done < n; done++ {
		from := listPartial
		whole, hashed := at[listWhole], at[listHashed]
		switch {
		case whole != 0 && (hashed == 0 || t.list[whole-1].micros() < t.list[hashed-1].micros()):
			from = listWhole
		case hashed != 0:
			from = listHashed
		case at[from] == 0:
			return done
		}
		k := &t.list[at[from]-1]
		at[from] = k.newer
		forget(k)
	}
	return done
}

// expireKeys forgets keys that are older than their window, a bounded number to a
// frame.
func (w *writer) expireKeys() error {
	now, trusted := w.keyClock.read()
	if !trusted || now.Sub(w.keyClock.expired).Abs() < expireEvery {
		return nil
	}
	if err := w.commit(); err != nil { // so that no key of the group is met
		return err
	}
	n := 0
	for _, s := range w.catalog.keys.senders {
		if s == nil {
			continue
		}
		for _, l := range s.lists {
			for p := l.oldest; p != 0 && n < endsPerFrame; n++ {
				k := &w.catalog.keys.list[p-1]
				if !w.s.Keys.tooOld(k, now) || w.group.streams[k.id] {
					break
				}
				p = k.newer
				w.forgetKey(k)
			}
		}
	}
	w.s.counts.keys.old.Add(uint64(n))
	if n < endsPerFrame {
		w.keyClock.expired = now // else there may be more: at the next tick
	}
	return w.commit()
}
