package tail

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"fanin/internal/wire"
)

// leastHole is the shortest run of NULs that is taken for a hole: bytes that no
// program wrote. Holes are made of the disk's sectors, the smallest of which has
// 512 bytes. A shorter run may be part of what a program wrote, such as padding
// in a record, and is text like any other.
const leastHole = 512

// leastFirstHole is the same at the start of a file. No text begins with NULs, and
// a file that was truncated under a program that does not append begins with as
// many as the file was long. Fewer may be the first character in a wide encoding.
const leastFirstHole = 4

// firstHole is where the first hole in raw begins, -1 if there is none.
func firstHole(raw []byte, startOfFile bool) int {
	if startOfFile && len(raw) >= leastFirstHole && allNUL(raw[:leastFirstHole]) {
		return 0
	}
	for i := leastHole - 1; i < len(raw); i += leastHole { // each run of that length covers such an i
		if raw[i] != 0 {
			continue
		}
		from, to := i, i+1
		for from > 0 && raw[from-1] == 0 {
			from--
		}
		for to < len(raw) && to < from+leastHole && raw[to] == 0 {
			to++
		}
		if to == from+leastHole {
			return from
		}
	}
	return -1
}

func allNUL(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// behindHole reports whether a hole that was passed over may end where tail ends.
func behindHole(tail []byte) bool {
	return len(tail) > 0 && allNUL(tail[max(0, len(tail)-leastHole):])
}

// provesPlace reports whether tail proves the place at offset. NULs alone do not:
// a longer hole has them at every place. They do where a hole ends, or the file.
func (f *file) provesPlace(tail []byte, offset int64) bool {
	if len(tail) == 0 || !allNUL(tail) {
		return true
	}
	var next [1]byte
	n, _ := f.f.ReadAt(next[:], offset)
	return n == 0 || next[0] != 0
}

// holes is what a follower knows of the hole at its place. Bytes that a hole
// hides may still come: a program may reserve room and fill it, and parallel or
// remote writes arrive in any order. So a hole is passed over only when something
// else stands behind it, and the file had grown beyond it some time ago.
type holes struct {
	from, to int64     // NULs, as far as was looked
	looked   time.Time // when they were looked at from the start
	waits    bool      // it may not be passed over yet
	again    time.Time // when to look again; zero: when the file changes

	size   int64     // of the file ...
	sized  time.Time // ... at this time
	stable int64     // the size that it had holeAge before some look
	passed int64     // bytes passed over so far
	told   int64     // bytes of them that were reported
}

// lookAgain is how long it is believed that NULs that were seen are still there:
// a file may have gigabytes of them, written and not reserved, before its end.
const lookAgain = 5 * time.Second

// age is how long a hole must stand.
func (t *Tailer) holeAge() time.Duration { return 4 * t.Poll }

// grew notes the file's size.
func (h *holes) grew(size int64, age time.Duration) {
	now := time.Now()
	if size < h.size {
		h.stable, h.from, h.to = 0, 0, 0
		h.size, h.sized = size, now
	}
	if now.Sub(h.sized) >= age {
		h.stable, h.size, h.sized = h.size, size, now
	}
}

// end finds the first byte behind the hole at from that is no NUL; found is false
// if there is none yet. block is memory to read into.
func (h *holes) end(ctx context.Context, f *file, from int64, block []byte) (end int64, found bool, err error) {
	known := h.from <= from && from < h.to && time.Since(h.looked) < lookAgain
	if !known {
		h.to, h.looked = from, time.Now()
	}
	h.from = from
	found, err = h.scan(ctx, f, block)
	if known && found { // rare, and final: look at all of it
		h.to, h.looked = from, time.Now()
		found, err = h.scan(ctx, f, block)
	} else if known {
		h.again = h.looked.Add(lookAgain)
	}
	return h.to, found, err
}

// scan moves h.to over NULs, and reports whether it came to something else.
func (h *holes) scan(ctx context.Context, f *file, block []byte) (found bool, err error) {
	for ctx.Err() == nil {
		h.to = f.f.nextData(h.to)
		n, err := f.f.ReadAt(block, h.to)
		if err != nil && err != io.EOF {
			return false, fmt.Errorf("read at offset %d: %w", h.to, err)
		}
		for at := 0; at < n; at += wire.TailSize {
			part := block[at:min(n, at+wire.TailSize)]
			if !allNUL(part) {
				h.to += int64(at) + int64(bytes.IndexFunc(part, func(r rune) bool { return r != 0 }))
				return true, nil
			}
		}
		h.to += int64(n)
		if n < len(block) {
			return false, nil
		}
	}
	return false, ctx.Err()
}

// due is when to look at the hole again though the file did not change; nil: never.
func (h *holes) due() <-chan time.Time {
	if h.again.IsZero() {
		return nil
	}
	return time.After(time.Until(h.again))
}

// passHole goes on at the hole that r found no line before: what stands before it
// is a line, and the hole itself is skipped. Until it may be, r stays without both.
func (f *Follower) passHole(ctx context.Context, r read) (read, error) {
	h := &f.holes
	end, found, err := h.end(ctx, f.file, r.hole, r.block)
	found = found || f.table.Whole // it will not grow: then its end is one of text
	if err != nil || !found {
		h.waits = true
		return r, err
	}
	if end > h.stable && !f.reading.final {
		h.waits = true
		h.again = h.sized.Add(f.t.holeAge())
		return r, nil
	}
	if r.hole > r.from.Offset {
		return f.file.readBatch(r.from, r.block, f.limits(), f.reading.final, r.hole)
	}
	r.to, err = f.file.cursorAt(end, r.from.lines)
	r.skip = true
	return r, err
}

// passedHole counts and reports a hole that the other side knows of.
func (f *Follower) passedHole(r *read) {
	n := r.to.Offset - r.from.Offset
	f.t.counts.holes.Add(uint64(n))
	h := &f.holes
	h.passed += n
	f.mu.Lock()
	f.report.holes = h.passed
	f.mu.Unlock()
	if h.passed < 2*h.told {
		return // a file that is full of holes is reported a few times, not at each
	}
	h.told = h.passed
	f.t.Log.Warn("passed over a hole: a run of NULs, as a program that does not append (O_APPEND) leaves behind when its file is truncated",
		"path", f.path, "from", r.from.Offset, "to", r.to.Offset, "bytes_so_far", h.passed)
}
