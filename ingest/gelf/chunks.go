package gelf

import (
	"bytes"
	"container/list"
	"net/netip"
	"time"

	"fanin/ingest"
	"fanin/internal/origin"
)

// A chunk of a message. All chunks of a message have its id, and its sender's address; they
// come in any order.
//
//	1e 0f · 8 bytes id · 1 byte number, from 0 on · 1 byte count, 1 to 128 · the rest: data
const (
	chunkMagic = "\x1e\x0f"
	chunkHead  = len(chunkMagic) + 8 + 2
	maxChunks  = 128
	maxAge     = 5 * time.Second // from a message's first chunk on
)

// isChunk reports whether a datagram is a chunk.
func isChunk(b []byte) bool { return bytes.HasPrefix(b, []byte(chunkMagic)) }

// chunks collects the chunks of messages. What it holds is bounded, in all and for each
// sender: for a new chunk, the oldest messages are forgotten, those of the chunk's sender if
// it holds its share. Messages that were completed lately are remembered, so that a chunk
// that the network doubled does not begin another one. It runs on one goroutine.
type chunks struct {
	losses  *losses
	budget  ingest.Budget // its blocks hold the data
	largest int           // bytes of a message, as it comes

	parts   map[messageID]*partial
	oldest  *list.List // of all *partial, in the order in which they began
	senders map[netip.Prefix]*sender
	done    done
	joined  []byte    // the last whole message
	now     time.Time // of the chunk that is added
}

// messageID is a message of a peer.
type messageID struct {
	peer netip.Addr
	id   [8]byte
}

// sender is what an address holds.
type sender struct {
	held   int64
	oldest *list.List // of *partial
}

// partial is a message of which chunks are missing.
type partial struct {
	messageID
	peer   string
	began  time.Time
	count  byte
	data   []byte  // of the chunks that came, one after the other; a block of the budget
	pieces []piece // in the order in which they came

	sender        *sender
	inAll, inMine *list.Element
}

// piece is a chunk in a partial's data.
type piece struct {
	number   byte
	from, to int
}

// pieceBytes is the memory of a piece, and a little of its partial.
const pieceBytes = 32

func newChunks(l *losses, limit int64, largest int) *chunks {
	return &chunks{losses: l, budget: ingest.Budget{Limit: limit}, largest: largest,
		parts: make(map[messageID]*partial), oldest: list.New(), senders: make(map[netip.Prefix]*sender)}
}

// share is how much one sender may hold: a quarter of all, and a whole message.
func (c *chunks) share() int64 {
	return max(c.budget.Limit/4, ingest.BlockSize(c.largest+maxChunks*pieceBytes))
}

// add takes a chunk, and returns the whole message if this was the last one missing. The
// message is valid until the next call.
func (c *chunks) add(peer netip.Addr, name string, b []byte, now time.Time) (whole []byte) {
	if len(b) < chunkHead {
		c.losses.chunk(chunkShort, name)
		return nil
	}
	c.now = now
	number, count, data := b[chunkHead-2], b[chunkHead-1], b[chunkHead:]
	id := messageID{peer: peer, id: [8]byte(b[len(chunkMagic):])}
	switch {
	case count == 0:
		c.losses.chunk(chunkZero, name)
	case count > maxChunks:
		c.losses.chunk(chunkTooMany, name)
	case number >= count:
		c.losses.chunk(chunkNumber, name)
	case c.done.has(id, now): // or it comes too late
		c.losses.chunk(chunkDoubled, name)
	default:
		p := c.parts[id]
		if p == nil {
			p = c.begin(id, name, count)
		}
		return c.extend(p, number, count, data)
	}
	return nil
}

func (c *chunks) begin(id messageID, name string, count byte) *partial {
	from := origin.Network(id.peer)
	s := c.senders[from]
	if s == nil {
		s = &sender{oldest: list.New()}
		c.senders[from] = s
	}
	p := &partial{messageID: id, peer: name, began: c.now, count: count, sender: s}
	p.inAll, p.inMine = c.oldest.PushBack(p), s.oldest.PushBack(p)
	c.parts[id] = p
	return p
}

// extend adds a chunk to its message.
func (c *chunks) extend(p *partial, number, count byte, data []byte) (whole []byte) {
	if same, other := p.has(number, count, data); same || other {
		reason := chunkDoubled
		if other {
			reason = chunkMismatch
		}
		c.losses.chunk(reason, p.peer)
		return nil
	}
	if len(p.data)+len(data) > c.largest {
		c.lose(p, lostLarge)
		return nil
	}
	if !c.reserve(p, len(data)) {
		c.lose(p, lostMemory)
		return nil
	}
	from := len(p.data)
	p.data = append(p.data, data...)
	p.pieces = append(p.pieces, piece{number, from, len(p.data)})
	if len(p.pieces) < int(p.count) {
		return nil
	}
	whole = c.join(p)
	c.done.add(p.messageID, c.now)
	c.forget(p)
	return whole
}

// has reports whether a chunk came before, or contradicts what came.
func (p *partial) has(number, count byte, data []byte) (same, other bool) {
	if count != p.count {
		return false, true
	}
	for _, x := range p.pieces {
		if x.number == number {
			same = bytes.Equal(p.data[x.from:x.to], data)
			return same, !same
		}
	}
	return false, false
}

// reserve makes space for n more bytes of p, and forgets other messages for it. It reports
// false if there is none.
func (c *chunks) reserve(p *partial, n int) bool {
	need := len(p.data) + n + (len(p.pieces)+1)*pieceBytes
	if need <= cap(p.data) {
		return true
	}
	size := ingest.BlockSize(need)
	for p.sender.held-int64(cap(p.data))+size > c.share() {
		if !c.evict(p.sender.oldest, p) {
			return false
		}
	}
	var b []byte
	for b == nil {
		if b = c.budget.TryAcquire(need); b == nil && !c.evict(c.oldest, p) {
			return false
		}
	}
	p.sender.held += int64(len(b)) - int64(cap(p.data))
	old := p.data
	p.data = append(b[:0], old...)
	c.budget.Release(old)
	return true
}

// evict forgets the oldest message of a list other than p.
func (c *chunks) evict(from *list.List, p *partial) bool {
	for e := from.Front(); e != nil; e = e.Next() {
		if old := e.Value.(*partial); old != p {
			c.lose(old, lostMemory)
			return true
		}
	}
	return false
}

// lose forgets a message that is lost. Chunks of it that are still to come begin no other.
func (c *chunks) lose(p *partial, reason string) {
	c.losses.message(reason, p.peer, len(p.data))
	c.done.add(p.messageID, c.now)
	c.forget(p)
}

// forget releases what p holds.
func (c *chunks) forget(p *partial) {
	delete(c.parts, p.messageID)
	c.oldest.Remove(p.inAll)
	p.sender.oldest.Remove(p.inMine)
	p.sender.held -= int64(cap(p.data))
	c.budget.Release(p.data)
	if p.sender.oldest.Len() == 0 {
		delete(c.senders, origin.Network(p.messageID.peer))
	}
}

// join copies the chunks of p in their order.
func (c *chunks) join(p *partial) []byte {
	var at [maxChunks]piece
	for _, x := range p.pieces {
		at[x.number] = x
	}
	c.joined = c.joined[:0]
	for _, x := range at[:p.count] {
		c.joined = append(c.joined, p.data[x.from:x.to]...)
	}
	return c.joined
}

// expire forgets messages whose chunks did not all come in time; all of them, if now is the
// zero time.
func (c *chunks) expire(now time.Time) {
	reason := lostTimeout
	if now.IsZero() {
		reason = lostStopped
	} else {
		c.now = now
	}
	for e := c.oldest.Front(); e != nil; e = c.oldest.Front() {
		p := e.Value.(*partial)
		if reason == lostTimeout && now.Sub(p.began) < maxAge {
			return
		}
		c.lose(p, reason)
	}
}
