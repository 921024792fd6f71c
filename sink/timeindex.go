package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"sync"
)

// timeIndexes finds records by time, without reading whole ledgers. They are in memory alone.
type timeIndexes struct {
	mu     sync.Mutex
	byFile map[uint64]*timeIndex
}

// timeIndex is that of one ledger. The records of a ledger are not quite in the order of time: the clocks of agents
// differ by up to a minute. So it has, for each indexStep records, the latest time of these and of all before. A
// ledger only grows, so what was read of it once is not read again.
type timeIndex struct {
	mu     sync.Mutex
	latest []int64 // in microseconds since 1970
}

// indexStep is how many records are read at a time: 80 KiB.
const indexStep = 1024

// of returns the index of a file, and forgets those of files that are gone.
func (x *timeIndexes) of(generation uint64, files []Generation) *timeIndex {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byFile[generation] == nil {
		known := make(map[uint64]*timeIndex)
		for _, g := range files {
			if i := x.byFile[g.Number]; i != nil {
				known[g.Number] = i
			}
		}
		known[generation] = new(timeIndex)
		x.byFile = known
	}
	return x.byFile[generation]
}

// firstRecord looks into a generation's ledger for the first record of this time
// or later, which begins at byte at; else at is where the ledger ends.
func (s *Sink) firstRecord(ctx context.Context, generation uint64, micros int64) (at int64, ok bool, err error) {
	f, err := os.Open(ledgerName(s.State, generation))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the ledger: %w", err)
	}
	defer f.Close()
	at, ok, err = s.view.times.of(generation, s.files()).first(ctx, f, micros)
	if err != nil {
		err = fmt.Errorf("read the ledger of generation %d: %w", generation, err)
	}
	return at, ok, err
}

// first finds the first record of this time or later in a ledger.
func (x *timeIndex) first(ctx context.Context, ledger io.ReaderAt, micros int64) (at int64, ok bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	buf := make([]byte, indexStep*recordSize)
	i := sort.Search(len(x.latest), func(i int) bool { return x.latest[i] >= micros })
	for i = max(0, i-1); ; i++ { // the step before says where a ledger ends that has no such record
		n, err := ledger.ReadAt(buf, int64(i)*int64(len(buf)))
		if err != nil && err != io.EOF {
			return 0, false, err
		}
		s := scanRecords(buf[:n], micros)
		if at = max(at, s.end); s.found {
			return s.at, true, nil
		}
		if n < len(buf) {
			return at, false, nil
		}
		if i == len(x.latest) && !s.damaged {
			if i > 0 {
				s.latest = max(s.latest, x.latest[i-1])
			}
			x.latest = append(x.latest, s.latest)
		}
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
	}
}

// scannedRecords is what a part of a ledger has.
type scannedRecords struct {
	at     int64 // where the text of the record begins that was looked for
	found  bool
	end    int64 // where the text of all of them ends
	latest int64 // time; 0: they have no text

	damaged bool // perhaps they are being written
}

// scanRecords looks for the first record of this time or later. Damaged records are left out.
func scanRecords(b []byte, micros int64) (s scannedRecords) {
	var r record
	for ; len(b) >= recordSize; b = b[recordSize:] {
		if r.parse(b) != nil {
			s.damaged = true
			continue
		}
		if r.length == 0 {
			continue
		}
		if r.time >= micros {
			return scannedRecords{at: r.position, found: true}
		}
		s.latest = max(s.latest, r.time)
		s.end = max(s.end, r.position+int64(r.length))
	}
	return s
}
