package zmq

import (
	"encoding/binary"

	"fanin/sink"
)

// The bounds of what an encoder makes and remembers.
const (
	maxRun    = 4096   // messages of a run
	maxTopics = 65_536 // with counters
)

// encoder puts lines into blocks.
type encoder struct {
	sink     *sink.Sink
	most     int  // messages of a run
	sequence bool // with counters

	block    *block
	topic    []byte
	counters map[string]uint32 // lines of each topic
	counter  [4]byte
}

// add adds a line to the block. If that is full, it is offered first, and another one
// begins.
func (e *encoder) add(line []byte, offer func(b *block, from, to int)) {
	f := e.sink.Parts(line)
	e.topic = appendName(append(appendName(e.topic[:0], f.Host), '/'), f.Source)
	size := len(e.topic) + len(line) + overhead
	if e.block == nil {
		e.block = newBlock(1, size)
	} else if !e.block.fits(size) {
		e.flush(offer)
		e.block = newBlock(e.block.number+1, size)
	}
	if !e.sequence {
		e.block.add(e.most, e.topic, line)
		return
	}
	binary.LittleEndian.PutUint32(e.counter[:], e.count())
	e.block.add(e.most, e.topic, line, e.counter[:])
}

// flush offers what was added.
func (e *encoder) flush(offer func(b *block, from, to int)) {
	if b := e.block; b != nil && len(b.added) > b.offered {
		from, to := b.offering()
		offer(b, from, to)
	}
}

// count returns the number of the line in its topic, from 0. Of too many topics it forgets
// some: their lines are counted from 0 again.
func (e *encoder) count() uint32 {
	if e.counters == nil {
		e.counters = make(map[string]uint32)
	}
	n, known := e.counters[string(e.topic)]
	if !known && len(e.counters) >= maxTopics {
		for other := range e.counters {
			delete(e.counters, other)
			break
		}
	}
	e.counters[string(e.topic)] = n + 1
	return n
}

// appendName appends a part of a topic.
func appendName(b, name []byte) []byte {
	if len(name) == 0 {
		return append(b, '-')
	}
	return append(b, name...)
}
