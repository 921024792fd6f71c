package ingest

import (
	"unsafe"

	"fanin/internal/wire"
)

// loans are the blocks of a Budget's reserve that are in use: all together as large as one frame's text.
// Its zero value has none.
type loans struct {
	bytes  int64
	noted  int64              // of bytes, those of blocks
	blocks map[*byte]struct{} // by their first byte
}

// lend counts n more bytes, if the reserve has them.
func (l *loans) lend(n int64) bool {
	if l.bytes+n > wire.MaxText {
		return false
	}
	l.bytes += n
	return true
}

// note notes which block it is that was lent.
func (l *loans) note(b []byte) {
	if l.blocks == nil {
		l.blocks = make(map[*byte]struct{})
	}
	l.blocks[unsafe.SliceData(b)] = struct{}{}
	l.noted += int64(len(b))
}

// end ends all loans if they are noted and fit into space, and returns their bytes: a slow client may keep
// such a block for long.
func (l *loans) end(space int64) (bytes int64) {
	if l.noted != l.bytes || l.bytes > space {
		return 0
	}
	bytes, l.bytes, l.noted = l.bytes, 0, 0
	clear(l.blocks)
	return bytes
}

// back reports whether b was lent, which ends with that.
func (l *loans) back(b []byte) bool {
	first := unsafe.SliceData(b)
	if _, ok := l.blocks[first]; !ok {
		return false
	}
	delete(l.blocks, first)
	l.bytes -= int64(len(b))
	l.noted -= int64(len(b))
	return true
}
