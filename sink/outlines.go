package sink

import (
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"fanin/sink/summary"
)

// outlines are the outlines of the summaries of closed files: in memory, so that a histogram of weeks
// reads nothing, and in one file, so that a start reads that instead of all summaries. The file is a
// row of outlines, the newest file's first, each behind its length in four bytes, little endian. They
// can be made again from the summaries; the file is never synced, and counts as far as checksums match.
type outlines struct {
	s      *Sink
	loaded sync.Once

	mu    sync.Mutex
	of    map[uint64]outline
	bytes int  // of all of them
	dirty bool // the file has not all of them
}

// outline is that of one summary.
type outline struct {
	head *summary.Summary // of the summary: it points into text
	step int64            // minutes of a cell
	text []byte
}

const outlinesName = "outlines"

// maxOutlines is how many bytes they may have, those of the newest files first: one of a file that lasts
// for a day has 15 KiB with 200 series.
const maxOutlines = 16 << 20

func newOutlines(s *Sink) *outlines { return &outlines{s: s, of: make(map[uint64]outline)} }

// get returns the outline of a file; without a head: there is none.
func (x *outlines) get(of summary.File) outline {
	x.loaded.Do(x.load)
	x.mu.Lock()
	defer x.mu.Unlock()
	if o := x.of[of.Generation]; o.head != nil && o.head.File == of {
		return o
	}
	return outline{}
}

// set adds the outline of a summary, or replaces it.
func (x *outlines) set(sum *summary.Summary) {
	x.loaded.Do(x.load)
	text := sum.Outline()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.add(text) == nil {
		x.dirty = true
	}
}

// full reports whether there is no room for those of older files.
func (x *outlines) full() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes > maxOutlines*7/8
}

// add adds an outline, and drops those of the oldest files for which there is no room. mu is held.
func (x *outlines) add(text []byte) error {
	head, rows, err := summary.ParseOutline(text)
	if err != nil {
		return err
	}
	x.drop(head.File.Generation)
	x.of[head.File.Generation] = outline{head, rows.Step, text}
	x.bytes += len(text)
	for x.bytes > maxOutlines {
		x.drop(slices.Min(slices.Collect(maps.Keys(x.of))))
	}
	return nil
}

// forget drops the outline of a file whose summary is damaged.
func (x *outlines) forget(generation uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(generation)
}

func (x *outlines) drop(generation uint64) {
	x.bytes -= len(x.of[generation].text)
	delete(x.of, generation)
}

// load reads the file. What cannot be read is made again.
func (x *outlines) load() {
	path := filepath.Join(x.s.State, outlinesName)
	if fi, err := os.Stat(path); err != nil || fi.Size() > 2*maxOutlines {
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(b) >= 4 {
		n := int64(binary.LittleEndian.Uint32(b))
		if b = b[4:]; n > int64(len(b)) || x.add(b[:n:n]) != nil {
			return
		}
		b = b[n:]
	}
}

// save writes the file, if there is something new. Those of files that are gone are dropped.
func (x *outlines) save() error {
	text := x.encode()
	if text == nil {
		return nil
	}
	err := x.s.replaceSummary(filepath.Join(x.s.State, outlinesName), text)
	if err != nil {
		x.mu.Lock()
		x.dirty = true
		x.mu.Unlock()
	}
	return err
}

// encode returns what the file is to have; nil: it has that already.
func (x *outlines) encode() (text []byte) {
	closed := x.s.summaryFiles()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.dirty {
		return nil
	}
	x.dirty = false
	for _, g := range slices.Backward(slices.Sorted(maps.Keys(x.of))) {
		o := x.of[g]
		if closed[g] != o.head.File {
			x.drop(g)
			continue
		}
		text = append(binary.LittleEndian.AppendUint32(text, uint32(len(o.text))), o.text...)
	}
	return text
}
