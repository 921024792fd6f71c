package zmq

import (
	"bytes"
	"slices"
	"sync/atomic"

	"fanin/internal/zmtp"
)

// The bounds of blocks. What slow subscribers wait for is kept in blocks that all of them
// share.
const (
	blockSize   = 32 << 10 // bytes, except for one message that is longer
	maxRuns     = 256      // of a block
	keptBlocks  = 384      // the newest, if there are few subscribers
	leastBlocks = 32       // if there are many
	keptParts   = 64 * keptBlocks
)

// kept returns how many blocks so many subscribers may wait for, so that what is noted of
// them stays bounded.
func kept(subscribers int) uint64 {
	return uint64(min(max(keptParts/max(subscribers, 1), leastBlocks), keptBlocks))
}

// block is a part of the log, encoded once for all subscribers. It grows until it is full,
// and what is in it does not change: so what was offered of it is read without a lock.
//
//	data  message message message ...    as zmtp.AppendMessage encodes them
//	runs  neighbouring messages with one topic
type block struct {
	number  uint64                // counts up
	data    []byte                // all that there is room for
	used    int                   // bytes of data; for the publisher alone
	runs    atomic.Pointer[[]run] // those that were offered, or more
	added   []run                 // all of them; for the publisher alone
	offered int                   // so many runs were offered to subscribers; for the publisher alone
}

// run is neighbouring messages of a block that have one topic. It does not grow after it
// was offered.
type run struct {
	topic    []byte // in the block's data
	from, to int    // its messages in the data
	messages int
}

// overhead is more than the frames of a message add to topic and line.
const overhead = 3 * 9

// newBlock returns an empty block that has room for a message of size bytes.
func newBlock(number uint64, size int) *block {
	return &block{number: number, data: make([]byte, max(blockSize, size))}
}

// fits reports whether the block has room for another message of size bytes.
func (b *block) fits(size int) bool { return b.used+size <= len(b.data) && len(b.added) < maxRuns }

// add adds a message, which fits. Runs have at most so many messages. frames[0] is the
// topic.
func (b *block) add(most int, frames ...[]byte) {
	from := b.used
	b.used = len(zmtp.AppendMessage(b.data[:from], frames...))
	if n := len(b.added); n > b.offered {
		if last := &b.added[n-1]; last.messages < most && bytes.Equal(last.topic, frames[0]) {
			last.to, last.messages = b.used, last.messages+1
			return
		}
	}
	begin := from + 2
	if len(frames[0]) > 255 {
		begin = from + 9
	}
	b.added = append(b.added, run{b.data[begin : begin+len(frames[0])], from, b.used, 1})
}

// offering returns the numbers of the first and behind the last run that are not yet
// offered. They do not change from now on.
func (b *block) offering() (from, to int) {
	runs := b.added
	b.runs.Store(&runs)
	from, b.offered = b.offered, len(runs)
	return from, b.offered
}

// part is runs of a block that wait for one subscriber. There are many: it is small.
type part struct {
	block    *block
	next, to uint16 // the first of these runs, and behind the last
	messages uint32 // of the runs that are chosen
	chosen   [maxRuns / 64]uint64
}

func (p *part) choose(i int)   { p.chosen[i/64] |= 1 << (i % 64) }
func (p *part) has(i int) bool { return p.chosen[i/64]&(1<<(i%64)) != 0 }

// oldest moves next to the first of the chosen runs, and returns it. There is one.
func (p *part) oldest() *run {
	for !p.has(int(p.next)) {
		p.next++
	}
	return &(*p.block.runs.Load())[p.next]
}

// stretches yields the messages of the runs that are chosen, neighbours together.
func (p *part) stretches(yield func(messages []byte, n int) bool) {
	runs := (*p.block.runs.Load())[:p.to]
	for i := int(p.next); i < len(runs); i++ {
		if !p.has(i) {
			continue
		}
		from, n := runs[i].from, 0
		for ; i < len(runs) && p.has(i); i++ {
			n += runs[i].messages
		}
		if !yield(p.block.data[from:runs[i-1].to], n) {
			return
		}
	}
}

// parts are what waits for a subscriber, in order.
type parts struct {
	list     []part
	messages int
}

// add appends those runs of a block, of those from to to-1, that subscriptions match. It
// returns how many messages they have.
func (q *parts) add(b *block, from, to int, s *subscriptions) (added int) {
	last := len(q.list) - 1
	p := part{block: b, next: uint16(from)}
	if last >= 0 && q.list[last].block == b {
		p = q.list[last]
	}
	every, runs := s.every(), *b.runs.Load()
	for i := from; i < to; i++ {
		if every || s.match(runs[i].topic) {
			p.choose(i)
			added += runs[i].messages
		}
	}
	if added == 0 {
		return 0
	}
	p.to = uint16(to)
	p.messages += uint32(added)
	q.messages += added
	if last >= 0 && q.list[last].block == b {
		q.list[last] = p
	} else {
		q.list = append(q.list, p)
	}
	return added
}

// take removes the first part; nil: there is none.
func (q *parts) take() *part {
	if len(q.list) == 0 {
		return nil
	}
	p := q.list[0]
	q.list = slices.Delete(q.list, 0, 1)
	q.messages -= int(p.messages)
	return &p
}

// dropTo drops the oldest messages until at most so many are left, or one run, and none of
// blocks before number first. It returns how many were dropped.
func (q *parts) dropTo(most int, first uint64) (dropped int) {
	for len(q.list) > 0 {
		p := &q.list[0]
		n := p.oldest().messages
		if p.block.number >= first && (q.messages <= most || q.messages == n) {
			break
		}
		p.next++
		p.messages -= uint32(n)
		q.messages -= n
		dropped += n
		if p.messages == 0 {
			q.list = slices.Delete(q.list, 0, 1)
		}
	}
	return dropped
}
