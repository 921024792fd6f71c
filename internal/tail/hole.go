package tail

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"fanin/internal/wire"
)

// leastHole is the shortest run of NULs that is treated as a hole: bytes that no program
// wrote. Holes consist of the disk's sectors, the smallest of which has 512 bytes. A shorter
// run may be part of what a program wrote, such as padding in a record, and is text like any
// other.
const leastHole = 512

// leastFirstHole is the same at the start of a file. No text begins with NULs, and a file
// that was truncated under a program that does not append begins with as many as the file
// was long. Fewer may be the first character in a wide encoding.
const leastFirstHole = 4

// firstHole returns where the first hole in raw begins, -1 if there is none.
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

// behindHole reports whether a hole that was skipped may end where tail ends.
func behindHole(tail []byte) bool {
	return len(tail) > 0 && allNUL(tail[max(0, len(tail)-leastHole):])
}

// provesPlace reports whether tail proves the place at offset. NULs alone prove nothing: a
// longer hole has them at every place. They do where the hole or the file ends.
func (f *file) provesPlace(tail []byte, offset int64) bool {
	if len(tail) == 0 || !allNUL(tail) {
		return true
	}
	var next [1]byte
	n, _ := f.f.ReadAt(next[:], offset)
	return n == 0 || next[0] != 0
}

// holes is what a follower knows of the hole at its place. The bytes of a hole may still be
// written: a program may reserve space and fill it, and parallel or remote writes arrive in
// any order. So a hole is skipped only when something else follows it, and the file has been
// longer than the hole for some time.
type holes struct {
	from, to int64     // NULs, as far as the file was scanned
	looked   time.Time // when they were scanned from the start
	waits    bool      // the hole may not be skipped yet
	again    time.Time // when to scan again; zero: when the file changes

	size     int64     // of the file ...
	sized    time.Time // ... at this time
	stable   int64     // the size that it had holeAge before some look
	passed   int64     // bytes passed over so far
	reported int64     // bytes of them that were reported
}

// lookAgain is for how long NULs that were seen are assumed to be still there: a file may end
// in gigabytes of NULs that were written, and not only reserved.
const lookAgain = 5 * time.Second

// holeAge is for how long a hole must exist before it is skipped.
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

// end finds the first byte behind the hole at from that is not NUL; found is false if there
// is none yet. It reads into block.
func (h *holes) end(ctx context.Context, f *file, from int64, block []byte) (end int64, found bool, err error) {
	known := h.from <= from && from < h.to && time.Since(h.looked) < lookAgain
	if !known {
		h.to, h.looked = from, time.Now()
	}
	h.from = from
	found, err = h.scan(ctx, f, block)
	if known && found { // rare, and final: scan all of it
		h.to, h.looked = from, time.Now()
		found, err = h.scan(ctx, f, block)
	} else if known {
		h.again = h.looked.Add(lookAgain)
	}
	return h.to, found, err
}

// scan moves h.to over NULs, and reports whether it found something else.
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

// due fires when to scan the hole again though the file did not change; nil: never.
func (h *holes) due() <-chan time.Time {
	if h.again.IsZero() {
		return nil
	}
	return time.After(time.Until(h.again))
}

// passHole continues at the hole that r found no complete line before: what precedes the hole
// is a line, and the hole itself is skipped. Until the hole may be skipped, r stays empty.
func (f *follower) passHole(ctx context.Context, r read) (read, error) {
	h := &f.holes
	end, found, err := h.end(ctx, f.file, r.hole, r.block)
	found = found || f.table.Whole // it will not grow, so the hole ends where the file does
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
		return f.file.readBatch(r.from, r.block, f.limits(r.from), f.reading.final, r.hole)
	}
	r.to, err = f.file.cursorAt(end, r.from.lines)
	r.skip, r.reason = true, "a hole: NULs, no text"
	return r, err
}

// passedHole counts and reports a hole that the collector acknowledged.
func (f *follower) passedHole(r *read) {
	n := r.to.Offset - r.from.Offset
	f.t.counts.holes.Add(uint64(n))
	h := &f.holes
	h.passed += n
	f.mu.Lock()
	f.report.holes = h.passed
	f.mu.Unlock()
	if h.passed < 2*h.reported {
		return // a file that is full of holes is reported a few times, not for each hole
	}
	h.reported = h.passed
	f.t.Log.Warn("skipped a hole: a run of NULs; "+
		"a program that does not append (O_APPEND) leaves one when its file is truncated",
		"path", f.path, "from", r.from.Offset, "to", r.to.Offset, "bytes_so_far", h.passed)
}
