package zmq

import (
	"bytes"
	"slices"

	"fanin/internal/zmtp"
)

// The bounds of blocks. What slow subscribers wait for is kept in blocks that all of them
// share: at most the newest keptBlocks.
const (
	blockSize  = 64 << 10 // bytes, except for one message that is longer
	maxRuns    = 512      // of a block
	keptBlocks = 256
)

// block is a part of the log, encoded once for all subscribers. It grows until it is full,
// and what is in it does not change: so a part of it is read without a lock.
//
//	data  message message message ...    as zmtp.AppendMessage encodes them
//	runs  neighbouring messages with one topic
type block struct {
	number  uint64 // counts up
	data    []byte
	runs    []run
	offered int // so many runs were offered to subscribers
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
	return &block{number: number, data: make([]byte, 0, max(blockSize, size))}
}

// fits reports whether the block has room for another message of size bytes.
func (b *block) fits(size int) bool { return len(b.data)+size <= cap(b.data) && len(b.runs) < maxRuns }

// add adds a message, which fits. Runs have at most so many messages. frames[0] is the
// topic.
func (b *block) add(most int, frames ...[]byte) {
	from := len(b.data)
	b.data = zmtp.AppendMessage(b.data, frames...)
	if n := len(b.runs); n > b.offered {
		if last := &b.runs[n-1]; last.messages < most && bytes.Equal(last.topic, frames[0]) {
			last.to, last.messages = len(b.data), last.messages+1
			return
		}
	}
	begin := from + 2
	if len(frames[0]) > 255 {
		begin = from + 9
	}
	b.runs = append(b.runs, run{b.data[begin : begin+len(frames[0])], from, len(b.data), 1})
}

// part is runs of a block that wait for one subscriber.
type part struct {
	block    *block
	data     []byte // the block's, with these runs
	runs     []run  // the block's, up to the last of these
	next     int    // the first of these
	chosen   [maxRuns / 64]uint64
	messages int // of the runs that are chosen
}

func (p *part) choose(i int)   { p.chosen[i/64] |= 1 << (i % 64) }
func (p *part) has(i int) bool { return p.chosen[i/64]&(1<<(i%64)) != 0 }

// oldest moves next to the first of the chosen runs, and returns it. There is one.
func (p *part) oldest() *run {
	for !p.has(p.next) {
		p.next++
	}
	return &p.runs[p.next]
}

// stretches yields the messages of the runs that are chosen, neighbours together.
func (p *part) stretches(yield func(messages []byte, n int) bool) {
	for i := p.next; i < len(p.runs); i++ {
		if !p.has(i) {
			continue
		}
		from, n := p.runs[i].from, 0
		for ; i < len(p.runs) && p.has(i); i++ {
			n += p.runs[i].messages
		}
		if !yield(p.data[from:p.runs[i-1].to], n) {
			return
		}
	}
}

// parts are what waits for a subscriber, in order.
type parts struct {
	list     []part
	messages int
}

// add appends the runs of a block from next on that subscriptions match. It returns how
// many messages they have.
func (q *parts) add(b *block, s *subscriptions) (added int) {
	p := part{block: b, data: b.data, runs: b.runs, next: b.offered}
	if n := len(q.list); n > 0 && q.list[n-1].block == b {
		p = q.list[n-1]
		p.data, p.runs = b.data, b.runs
	}
	every := s.every()
	for i := b.offered; i < len(b.runs); i++ {
		if every || s.match(b.runs[i].topic) {
			p.choose(i)
			added += b.runs[i].messages
		}
	}
	if added == 0 {
		return 0
	}
	p.messages += added
	q.messages += added
	if n := len(q.list); n > 0 && q.list[n-1].block == b {
		q.list[n-1] = p
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
	q.messages -= p.messages
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
		p.messages -= n
		q.messages -= n
		dropped += n
		if p.messages == 0 {
			q.list = slices.Delete(q.list, 0, 1)
		}
	}
	return dropped
}
