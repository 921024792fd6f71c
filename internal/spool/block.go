package spool

import (
	"slices"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// block is what one sync makes durable: records, in the memory in which they were gathered.
type block struct {
	// memory begins with room for the bytes that the segment has before the records, which their
	// tail hashes cover, and so that the records are where they will be in the file, within a page.
	memory []byte
	lead   int // where the records begin in it
	lines  int64

	segment *segment // that has it
	offset  int64    // of its first record there
	before  int      // bytes of the segment before it that it knows
	held    bool     // it is being read
}

// leadFor returns where the records of a block begin in its memory, if it will be at an offset of
// its segment. The memory begins with a page.
func leadFor(offset int64) int {
	return wire.TailSize + int((offset-wire.TailSize)&(disk.PageSize-1))
}

// records are the block's bytes in the segment.
func (b *block) records() []byte { return b.memory[b.lead:] }

// size is how many bytes the records have; those of no block have none.
func (b *block) size() int {
	if b == nil {
		return 0
	}
	return len(b.records())
}

// known are the records, and what it knows of the segment before them.
func (b *block) known() []byte { return b.memory[b.lead-b.before:] }

// follow notes what the segment has before the block.
func (b *block) follow(g *segment, offset int64, tail []byte) {
	b.segment, b.offset, b.before = g, offset, len(tail)
	copy(b.memory[b.lead-len(tail):], tail)
}

// covers reports whether the block has the record at an offset of a segment.
func (b *block) covers(g *segment, offset int64) bool {
	return b.segment == g && g.gap == nil && b.offset <= offset && offset < b.offset+int64(b.size())
}

// after is how many bytes it has from an offset on.
func (b *block) after(offset int64) int { return b.size() - int(offset-b.offset) }

// bytes returns n bytes of the segment from an offset on; nil: it does not have all of them.
func (b *block) bytes(offset int64, n int) []byte {
	if b == nil {
		return nil
	}
	known := b.known()
	at := int(offset-b.offset) + b.before
	if at < 0 || at+n > len(known) {
		return nil
	}
	return known[at : at+n]
}

// recent are the blocks that were synced last, still in memory: a sender that keeps up with its
// source reads no file. Under Spool.mu.
type recent struct {
	blocks []*block
	free   [][]byte
}

const (
	mostRecent  = 8
	leastRecent = 128 << 10 // smaller blocks are read from the file, many at once
)

// add adds a block that was synced.
func (r *recent) add(b *block) {
	if b.size() < leastRecent {
		r.give(b.memory)
		return
	}
	if len(r.blocks) == mostRecent {
		r.drop(r.blocks[0])
	}
	r.blocks = append(r.blocks, b)
}

// hold returns the block with the record at an offset of a segment, for reading; nil: there is
// none.
func (r *recent) hold(g *segment, offset int64) *block {
	for _, b := range r.blocks {
		if b.covers(g, offset) {
			b.held = true
			return b
		}
	}
	return nil
}

// release ends the reading of a block before an offset: what was read completely is dropped.
func (r *recent) release(b *block, offset int64) {
	b.held = false
	if !slices.Contains(r.blocks, b) || !b.covers(b.segment, offset) {
		r.drop(b)
	}
}

// drop forgets a block, whose memory is used again once it is not read any more.
func (r *recent) drop(b *block) {
	r.blocks = slices.DeleteFunc(r.blocks, func(x *block) bool { return x == b })
	if !b.held {
		r.give(b.memory)
	}
}

// give gives the memory of a block back.
func (r *recent) give(memory []byte) {
	if len(r.free) < mostRecent {
		r.free = append(r.free, memory)
	}
}

// take returns an empty block, which will be at an offset of its segment if nothing fails.
func (r *recent) take(offset int64) *block {
	b := &block{lead: leadFor(offset)}
	if n := len(r.free); n > 0 {
		b.memory, r.free = r.free[n-1][:b.lead], r.free[:n-1]
	} else {
		b.memory = make([]byte, b.lead, keep)
	}
	return b
}

// clear forgets all of it.
func (r *recent) clear() { r.blocks, r.free = nil, nil }

func (r *recent) isEmpty() bool { return len(r.blocks)+len(r.free) == 0 }
