package sink

import (
	"errors"
	"math"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/wire"
)

// entry appends the entry of the catalog log for the key of this id, as it is now. See
// cataloglog.go.
func (t *keys) entry(dst []byte, id wire.StreamID) []byte {
	k := t.find(id)
	switch {
	case k != nil:
		dst = msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(dst, 8), entryKey), id[:])
		p := k.point()
		dst = msgp.AppendUint64(dst, uint64(k.contentHash()))
		dst = msgp.AppendUint64(msgp.AppendInt64(dst, p.Offset), uint64(p.Tail))
		dst = msgp.AppendUint64(msgp.AppendInt64(dst, k.micros()), t.senders[k.sender].hash)
		return msgp.AppendBool(dst, k.hashed)
	case t.broken[id]:
		return msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(dst, 2), entryKey), id[:])
	}
	return msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(dst, 2), entryNoKey), id[:])
}

// horizonEntry appends the time before which nothing is known of a sender.
func horizonEntry(dst []byte, sender uint64, horizon int64) []byte {
	dst = msgp.AppendUint64(msgp.AppendInt(msgp.AppendArrayHeader(dst, 3), entryKey), sender)
	return msgp.AppendInt64(dst, horizon)
}

// delta appends the entries that changed since the last call.
func (t *keys) delta(dst []byte) []byte {
	var body []byte
	for _, id := range t.dirty {
		body = t.entry(body[:0], id)
		dst = appendEntry(dst, body)
	}
	for _, s := range t.receded {
		body = horizonEntry(body[:0], s.hash, s.horizon)
		dst = appendEntry(dst, body)
	}
	t.clean()
	return dst
}

// clean notes that the table on disk has all.
func (t *keys) clean() {
	for _, id := range t.dirty {
		if k := t.find(id); k != nil {
			k.dirty = false
		}
	}
	for _, s := range t.receded {
		s.dirty = false
	}
	clear(t.receded)
	t.dirty, t.receded = t.dirty[:0], t.receded[:0]
}

// all appends every entry; the keys of each list in their order.
func (t *keys) all(dst []byte) []byte {
	var body []byte
	for _, id := range t.order {
		body = t.entry(body[:0], id)
		dst = appendEntry(dst, body)
	}
	for _, s := range t.senders {
		if s == nil {
			continue
		}
		if s.horizon != 0 {
			body = horizonEntry(body[:0], s.hash, s.horizon)
			dst = appendEntry(dst, body)
		}
		for _, l := range s.lists {
			for p := l.oldest; p != 0; p = t.list[p-1].newer {
				body = t.entry(body[:0], t.list[p-1].id)
				dst = appendEntry(dst, body)
			}
		}
	}
	return dst
}

var errKeyEntry = errors.New("a key with a record number or a time that cannot be")

// loadHorizon reads what horizonEntry wrote, behind its kind.
func (c *catalog) loadHorizon(r *elements) error {
	sender, horizon := r.Uint(), r.Int()
	if r.Err == nil {
		c.keys.recede(c.keys.senders[c.keys.sender(sender)], horizon)
	}
	return r.Err
}

// loadLostKey applies the entry of a request that was committed in part when its key
// was forgotten.
func (c *catalog) loadLostKey(r *elements) error {
	if id := r.id(); r.Err == nil {
		c.keys.remove(id)
		c.keys.breakOff(id)
	}
	return r.Err
}

func (c *catalog) loadNoKey(r *elements) error {
	if id := r.id(); r.Err == nil {
		c.keys.remove(id)
		c.keys.mend(id)
	}
	return r.Err
}

func (c *catalog) loadKey(r *elements) error {
	k := keyEntry{id: r.id(), content: hashBytes(wire.Hash(r.Uint()))}
	records := r.Int()
	k.hash = hashBytes(wire.Hash(r.Uint()))
	seen, sender := r.Int(), r.Uint()
	k.hashed = r.Bool()
	if r.Err != nil {
		return r.Err
	}
	if records < 0 || records > math.MaxUint32 || seen < 0 || seen/1e6 > math.MaxUint32 {
		return errKeyEntry
	}
	k.records = uint32(records)
	k.setMicros(seen)
	c.keys.open(k, sender)
	return nil
}
