package sink

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"fanin/internal/disk"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Report is what Verify found.
type Report struct {
	Path        string         `json:"path"`
	Lines       uint64         `json:"lines"`
	Bytes       int64          `json:"bytes"`
	Uncovered   int64          `json:"uncovered"` // bytes behind the last checkpoint, not looked at
	Waiting     int            `json:"waiting"`   // frames that the next start will write into the file
	Generations []Generation   `json:"generations"`
	Streams     []StreamReport `json:"streams"`
	Keys        *KeyReport     `json:"keys,omitempty"`  // requests that came with a key
	Notes       []string       `json:"notes,omitempty"` // worth knowing, and nothing wrong
	// each names the file and the byte, or says how many more there are of a kind
	Problems []string `json:"problems,omitempty"`
	Found    int      `json:"found"` // problems in all
}

// StreamReport is one stream of the log. The zero id stands for all lines that
// came without one.
type StreamReport struct {
	Stream  string `json:"stream"`
	Host    string `json:"host,omitempty"`
	Source  string `json:"source,omitempty"`
	Epochs  int    `json:"epochs"`
	Lines   uint64 `json:"lines"`
	Offset  int64  `json:"offset"`  // of the source, committed
	Skipped int64  `json:"skipped"` // bytes that the agent said will never come
	Gaps    int    `json:"gaps"`
	Repeats int    `json:"repeats"`
}

// OK reports whether the log is what it should be.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Generations lists the files of the log at path, oldest first, of a running or
// a stopped collector. state may be empty for the default place.
func Generations(path, state string) ([]Generation, error) {
	path, err := locate(path)
	if err != nil {
		return nil, err
	}
	if state == "" {
		state = StateDir(path)
	}
	sl, err := readCheckpoint(state)
	if err != nil {
		return nil, err
	}
	if sl == nil {
		return nil, fmt.Errorf("%s holds no state of a log: %w", state, fs.ErrNotExist)
	}
	c, err := readCatalogLog(nil, state, sl.CatalogLog, sl.CatalogLogSize)
	if err != nil {
		return nil, err
	}
	return c.list(), nil
}

// Verify reads the whole log at path and holds it against the ledger: every
// line where it should be, every stream without a gap or a repeat. It only
// reads, and works beside a running collector, up to its last checkpoint.
func Verify(ctx context.Context, path, state string) (Report, error) {
	path, err := locate(path)
	if err != nil {
		return Report{}, err
	}
	if state == "" {
		state = StateDir(path)
	}
	for try := 0; ; try++ {
		v := newVerifier(path, state)
		err := v.run(ctx)
		// A running collector rotates and compresses under our eyes: look again.
		if errors.Is(err, fs.ErrNotExist) && try < 5 && v.moved() {
			continue
		}
		return v.report, err
	}
}

type streamEpoch struct {
	stream wire.StreamID
	epoch  uint32
}

type verifier struct {
	path, state string
	slot        *checkpointSlot
	catalog     *catalog
	report      Report
	last        map[streamEpoch]int64 // where each epoch of a stream stood
	streams     map[wire.StreamID]*StreamReport
	problems    map[problemKind]int
	order       []problemKind
	keys        map[wire.StreamID]int64 // the record that follows the last one of each partial request
}

func newVerifier(path, state string) *verifier {
	return &verifier{path: path, state: state, last: make(map[streamEpoch]int64), report: Report{Path: path},
		streams: make(map[wire.StreamID]*StreamReport), problems: make(map[problemKind]int),
		keys: make(map[wire.StreamID]int64)}
}

// problemKind is what is alike in problems: the file, and what is wrong.
type problemKind struct{ file, format string }

// maxReported is how many problems of a kind are reported one by one: what one event did
// to thousands of records would hide everything else.
const maxReported = 2

func (v *verifier) problem(file, format string, args ...any) {
	k := problemKind{file, format}
	if v.problems[k]++; v.problems[k] == 1 {
		v.order = append(v.order, k)
	}
	v.report.Found++
	if v.problems[k] <= maxReported && len(v.order) <= 1000 {
		v.report.Problems = append(v.report.Problems, file+": "+fmt.Sprintf(format, args...))
	}
}

// summarize adds, for each kind, how many more problems there were than were reported.
func (v *verifier) summarize() {
	for _, k := range v.order {
		if more := v.problems[k] - maxReported; more > 0 {
			v.report.Problems = append(v.report.Problems,
				fmt.Sprintf("%s: and %d more of this kind: %s", k.file, more, verbs.ReplaceAllString(k.format, "...")))
		}
	}
}

var verbs = regexp.MustCompile(`%[a-z]`)

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// moved reports whether there is a newer checkpoint than the one looked at.
func (v *verifier) moved() bool {
	sl, err := readCheckpoint(v.state)
	return err == nil && sl != nil && v.slot != nil && sl.Seq != v.slot.Seq
}

func (v *verifier) run(ctx context.Context) (err error) {
	if err := v.read(); err != nil {
		return err
	}
	if err := v.files(ctx); err != nil {
		return err
	}
	v.watermarks()
	v.keyMarks()
	v.waiting()
	v.finish()
	return nil
}

// finish completes the report.
func (v *verifier) finish() {
	v.summarize()
	for _, st := range v.streams {
		v.report.Streams = append(v.report.Streams, *st)
	}
	slices.SortFunc(v.report.Streams, func(a, b StreamReport) int { return strings.Compare(a.Stream, b.Stream) })
}

// read reads the newest checkpoint and its catalog.
func (v *verifier) read() (err error) {
	if v.slot, err = readCheckpoint(v.state); err != nil {
		return err
	}
	if v.slot == nil {
		return fmt.Errorf("%s holds no state of a log; check the path", v.state)
	}
	if v.catalog, err = readCatalogLog(nil, v.state, v.slot.CatalogLog, v.slot.CatalogLogSize); err != nil {
		return err
	}
	v.report.Generations = v.catalog.list()
	return nil
}

// files holds every file of the log against its ledger.
func (v *verifier) files(ctx context.Context) error {
	for _, g := range v.catalog.generations {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.generation(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// generation holds one file against its ledger.
func (v *verifier) generation(ctx context.Context, g *generation) error {
	size, records := g.size, int64(math.MaxInt64)
	switch g.state {
	case stateLost:
		v.note("generation %d is gone: another process deleted it or moved it away", g.number)
		return nil
	case stateRemoved:
		return nil
	case stateLive:
		size, records = v.slot.Size, v.slot.Ledger
	}
	text, now, err := v.open(ctx, g)
	if err != nil || text == nil {
		return err
	}
	defer text.Close()
	ledger, err := os.Open(ledgerName(v.state, g.number))
	if errors.Is(err, fs.ErrNotExist) && g.state != stateLive {
		v.note("%s was found without state: its lines cannot be verified", g.name)
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f := &verifiedFile{v: v, g: g, text: text, size: size}
	if err == nil {
		defer ledger.Close()
		err = f.against(ctx, io.LimitReader(ledger, records))
	} else {
		err = f.against(ctx, bytes.NewReader(nil)) // the live file has no records yet
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", g.name, err)
	}
	return v.behind(now, size)
}

// behind counts what the live file holds behind its checkpoint.
func (v *verifier) behind(g *generation, size int64) error {
	if g.state != stateLive {
		return nil
	}
	fi, err := os.Stat(v.path)
	if err == nil {
		v.report.Uncovered = max(0, fi.Size()-size)
	}
	return err
}

// verifiedFile is one file being read along its ledger.
type verifiedFile struct {
	v    *verifier
	g    *generation
	text *fileText
	rest []byte // of text, from byte at on
	size int64
	at   int64

	cut  bool   // the file ends at byte at, before its ledger does
	gone uint64 // lines behind that
}

// against reads the file along its ledger.
func (f *verifiedFile) against(ctx context.Context, ledger io.Reader) error {
	in, entry := bufio.NewReaderSize(ledger, 1<<16), make([]byte, recordSize)
	for i := 0; ; i++ {
		if _, err := io.ReadFull(in, entry); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			return err
		}
		var r record
		if r.parse(entry) != nil {
			f.v.problem(f.g.name, "record %d of the ledger of generation %d is damaged", i, f.g.number)
			return nil
		}
		if err := f.record(ctx, &r); err != nil {
			return err
		}
	}
	switch {
	case f.cut:
		f.v.problem(f.g.name, "ends at byte %d and had %d bytes: another program truncated it; %d committed "+
			"lines are gone", f.at, f.size, f.gone)
	case f.at < f.size:
		f.v.problem(f.g.name, unknownBytes, f.at, f.size)
	}
	f.v.report.Bytes += f.at
	return nil
}

// record checks one record's text, and its place in its stream.
func (f *verifiedFile) record(ctx context.Context, r *record) error {
	f.v.checkOrder(f.g, r)
	if r.length == 0 {
		return nil
	}
	if f.cut {
		f.gone += uint64(r.lines)
		return nil
	}
	if r.position < f.at {
		f.v.problem(f.g.name, "a record claims byte %d, which an earlier one has", r.position)
		return nil
	}
	if from := f.at; r.position > from {
		if _, whole, err := f.read(ctx, r.position-from); err != nil {
			return err
		} else if !whole {
			f.short(r, 0)
			return nil
		}
		f.v.problem(f.g.name, unknownBytes, from, r.position)
	}
	got, whole, err := f.read(ctx, int64(r.length))
	switch {
	case err != nil:
		return err
	case !whole:
		f.short(r, got.lines)
		return nil
	case got.sum != r.sum:
		f.v.problem(f.g.name, "the %d lines from byte %d are not what was committed", r.lines, r.position)
	case got.lines != int(r.lines) || got.last != '\n':
		f.v.problem(f.g.name, "torn: %d lines from byte %d, but %d were committed", got.lines, r.position, r.lines)
	}
	f.v.report.Lines += uint64(r.lines)
	return nil
}

// summed is what was read of a text.
type summed struct {
	sum   uint32
	lines int
	last  byte
}

// read reads the next n bytes of the file. It is not whole if the file ends before.
func (f *verifiedFile) read(ctx context.Context, n int64) (got summed, whole bool, err error) {
	for n > 0 {
		if len(f.rest) == 0 {
			if f.rest, err = f.text.next(ctx); err != nil || len(f.rest) == 0 {
				return got, false, err
			}
		}
		part := f.rest[:min(n, int64(len(f.rest)))]
		got.sum = disk.UpdateChecksum(got.sum, part)
		got.lines += lines.Count(part)
		got.last = part[len(part)-1]
		f.rest, f.at, n = f.rest[len(part):], f.at+int64(len(part)), n-int64(len(part))
	}
	return got, true, nil
}

// short notes that the file ends within a record, of which some lines are there.
func (f *verifiedFile) short(r *record, lines int) {
	f.cut, f.gone = true, uint64(r.lines)-uint64(lines)
	f.v.report.Lines += uint64(lines)
}

const unknownBytes = "bytes %d to %d are in no record: another program wrote them"

// checkOrder holds a record against where its stream stood.
func (v *verifier) checkOrder(g *generation, r *record) {
	if r.key {
		v.placeKey(g, r)
		return
	}
	st := v.streams[r.stream]
	if st == nil {
		st = &StreamReport{Stream: r.stream.String()}
		if known := v.catalog.streams[r.stream]; known != nil {
			st.Host, st.Source = known.origin.Value().host, known.source
		}
		v.streams[r.stream] = st
	}
	st.Lines += uint64(r.lines)
	if r.stream.IsZero() {
		return
	}
	key := streamEpoch{r.stream, r.epoch}
	last, seen := v.last[key]
	switch {
	case !seen:
		st.Epochs++
	case r.op == wire.OpOpen || r.op == wire.OpEnd:
	case r.offset > last && !r.lossy:
		st.Gaps++
		v.problem(g.name, "stream %s has a gap: offsets %d to %d are missing before byte %d", r.stream, last,
			r.offset, r.position)
	case r.offset < last:
		st.Repeats++
		v.problem(g.name, "stream %s repeats: offsets %d to %d are there again at byte %d", r.stream, r.offset, last,
			r.position)
	}
	if r.op == wire.OpSkip {
		st.Skipped += r.end - r.offset
	}
	v.last[key], st.Offset = r.end, r.end
}

// watermarks compares the watermarks that agents get with what is in the log.
func (v *verifier) watermarks() {
	for _, st := range v.catalog.streams {
		if last, seen := v.last[streamEpoch{st.id, st.Epoch}]; seen && last != st.Offset {
			v.problem("catalog log", "stream %s: its watermark is at offset %d, but the log holds it up to %d",
				st.id, st.Offset, last)
		}
	}
}

// waiting counts the frames that a stopped collector's next start will redo.
func (v *verifier) waiting() {
	path := filepath.Join(v.state, walName)
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	r := &walReader{f: f, path: path, size: v.slot.WALSize, epoch: v.slot.WALEpoch, lsn: v.slot.LSN, head: v.slot.Head}
	for {
		fr, err := r.next()
		if err != nil || fr == nil {
			var damaged *DamagedError
			if errors.As(err, &damaged) && !v.moved() {
				v.problem(walName, "%v", err)
			}
			return
		}
		v.report.Waiting++
	}
}
