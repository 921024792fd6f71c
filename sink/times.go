package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"time"

	"fanin/sink/line"
)

// Span is a row of whole lines of the log that were read at one time, or of which that is all that is known.
type Span struct {
	End  int   // byte of the text behind them
	Time int64 // in microseconds since 1970: the latest of all spans up to this one
}

// Times tells when the lines of a log were read, for texts that a Reader returns one after the other. The ledger
// knows it of each chunk. Behind the last checkpoint, and where there is no ledger, the lines tell, as far as they
// show it: no line can have been read in the future. Times never go back: a line that was read before the one
// before it has that one's time. One goroutine at a time may use it; it must be closed.
type Times struct {
	open   func(generation uint64) (*os.File, error) // the ledger; fs.ErrNotExist: there is none
	latest int64
	shown  *line.TimeReader

	ledger     *os.File // nil: there is none
	generation uint64   // of ledger
	records    int64    // of the ledger that were read
	buf, rest  []byte   // rest: those that were not used
	next       record
	has        bool // next is a record that was not used up
}

// Times returns the times of lines of this log.
func (s *Sink) Times() *Times {
	return NewTimes(s.Format, func(generation uint64) (*os.File, error) {
		return os.Open(ledgerName(s.State, generation))
	})
}

// NewTimes returns the times of lines of a log whose ledgers are elsewhere. open opens that of a
// generation; fs.ErrNotExist: there is none.
func NewTimes(format string, open func(generation uint64) (*os.File, error)) *Times {
	return &Times{open: open, shown: line.NewTimeReader(format)}
}

// Close closes the ledger. Times may still be used.
func (t *Times) Close() error {
	if t.ledger == nil {
		return nil
	}
	err := t.ledger.Close()
	t.ledger, t.generation = nil, 0
	return err
}

// Spans appends the spans of text, which begins at a position, to dst.
func (t *Times) Spans(dst []Span, text []byte, at Position) ([]Span, error) {
	begin := len(dst)
	if t.generation != at.Generation {
		if err := t.enter(at); err != nil {
			return dst, err
		}
	}
	add := func(end int) {
		if n := len(dst); n > begin && dst[n-1].Time == t.latest {
			dst[n-1].End = end
			return
		}
		dst = append(dst, Span{end, t.latest})
	}
	for done := 0; done < len(text); {
		pos := at.Offset + int64(done)
		if ok, err := t.reach(pos); err != nil {
			return dst, err
		} else if !ok {
			t.byText(text, done, add)
			break
		}
		if t.next.position > pos { // what another process wrote
			done = int(min(t.next.position-at.Offset, int64(len(text))))
		} else {
			t.latest = max(t.latest, t.next.time)
			done = int(min(t.next.position+int64(t.next.length)-at.Offset, int64(len(text))))
		}
		add(done)
	}
	return dst, nil
}

// byText adds the spans of lines of which the ledger knows nothing yet.
func (t *Times) byText(text []byte, from int, add func(end int)) {
	now := time.Now().UnixMicro()
	for from < len(text) {
		end := len(text)
		if i := bytes.IndexByte(text[from:], '\n'); i >= 0 {
			end = from + i + 1
		}
		if read, ok := t.shown.Micros(text[from:end]); ok {
			t.latest = max(t.latest, min(read, now))
		}
		add(end)
		from = end
	}
}

// reach makes next the first record with text that ends behind byte pos; false: the ledger ends before.
func (t *Times) reach(pos int64) (ok bool, err error) {
	for t.ledger != nil {
		if t.has && t.next.position+int64(t.next.length) > pos {
			return true, nil
		}
		t.has = false
		if len(t.rest) < recordSize {
			if err := t.fill(); err != nil || len(t.rest) < recordSize {
				return false, err
			}
		}
		t.has = t.next.parse(t.rest) == nil && t.next.length > 0
		t.rest = t.rest[recordSize:]
	}
	return false, nil
}

// ledgerBlock is how many records are read at a time.
const ledgerBlock = 512

// fill reads the next records.
func (t *Times) fill() error {
	if t.buf == nil {
		t.buf = make([]byte, ledgerBlock*recordSize)
	}
	n, err := t.ledger.ReadAt(t.buf, t.records*recordSize)
	if n -= n % recordSize; n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the ledger of generation %d: %w", t.generation, err)
	}
	t.rest = t.buf[:n]
	t.records += int64(n / recordSize)
	return nil
}

// enter opens the ledger of a position's file, at the record that has the position.
func (t *Times) enter(at Position) error {
	t.Close()
	f, err := t.open(at.Generation)
	t.generation, t.records, t.rest, t.has = at.Generation, 0, nil, false
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	t.ledger = f
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	if at.Offset > 0 {
		t.records = t.search(fi.Size()/recordSize, at.Offset)
	}
	return nil
}

// search returns a record of the first n before which all text is before byte pos.
func (t *Times) search(n, pos int64) int64 {
	b := make([]byte, recordSize)
	var r record
	i := sort.Search(int(n), func(i int) bool {
		for ; i < int(n); i++ {
			if _, err := t.ledger.ReadAt(b, int64(i)*recordSize); err != nil {
				return true
			}
			if r.parse(b) == nil && r.length > 0 {
				return r.position+int64(r.length) > pos
			}
		}
		return true
	})
	return int64(i)
}
