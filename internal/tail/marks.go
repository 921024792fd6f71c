package tail

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// mark is this side's own note of a stream: the second witness of what is kept,
// believed before the collector's watermark only when the log changed its life.
type mark struct {
	Stream wire.StreamID
	Epoch  uint32
	wire.Point
	Trail []wire.Point
	Lines int64
	Life  logID
	identity
}

// marks keeps all marks in one file, "marks", which is replaced as a whole:
//
//	fanin-marks 1
//	CRC32C of the rest of the line, 8 hexadecimal digits · space · a mark as JSON
//	...
type marks struct {
	disk *disk.Disk
	path string

	mu    sync.Mutex
	list  map[wire.StreamID]*mark
	dirty bool
	saved time.Time
}

const marksHeader = "fanin-marks 1"

// saveEvery is how old a mark may get. Marks count only when the collector lost
// its state, so they may be a little behind.
const saveEvery = time.Second

// openMarks reads the marks in dir. Damaged ones are put aside, which is said:
// the collector's watermarks do without. first says that there never were any.
func openMarks(d *disk.Disk, dir string, log *slog.Logger) (m *marks, first bool, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, false, fmt.Errorf("make the directory of the marks: %w", err)
	}
	m = &marks{disk: d, path: filepath.Join(dir, "marks"), list: make(map[wire.StreamID]*mark)}
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the marks: %w", err)
	}
	list, err := parseMarks(b)
	if err != nil {
		aside := m.path + ".damaged"
		log.Error("the marks are damaged and put aside; the collector's watermarks decide where files go on", "path", m.path, "aside", aside, "err", err)
		if err := d.Rename(m.path, aside); err != nil {
			return nil, false, fmt.Errorf("put the damaged marks aside: %w", err)
		}
	}
	for _, x := range list {
		m.list[x.Stream] = x
	}
	return m, false, nil
}

// put sets a mark; it reaches the disk a little later.
func (m *marks) put(x *mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list[x.Stream], m.dirty = x, true
}

func (m *marks) remove(id wire.StreamID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.list, id)
	m.dirty = true
}

func (m *marks) has(id wire.StreamID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list[id] != nil
}

// all returns the marks as they are now.
func (m *marks) all() map[wire.StreamID]*mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[wire.StreamID]*mark, len(m.list))
	for id, x := range m.list {
		all[id] = x // marks are replaced, never changed
	}
	return all
}

// save writes the marks if they changed and it is time, or now.
func (m *marks) save(now bool) error {
	m.mu.Lock()
	if !m.dirty || !now && time.Since(m.saved) < saveEvery {
		m.mu.Unlock()
		return nil
	}
	m.dirty, m.saved = false, time.Now()
	list := make([]*mark, 0, len(m.list))
	for _, x := range m.list {
		list = append(list, x)
	}
	m.mu.Unlock()
	if err := m.disk.WriteFile(m.path, formatMarks(list), 0o640); err != nil {
		m.mu.Lock()
		m.dirty = true
		m.mu.Unlock()
		return err
	}
	return nil
}

// markJSON is a mark in the file.
type markJSON struct {
	Stream      string     `json:"stream"`
	Path        string     `json:"path"`
	Epoch       uint32     `json:"epoch"`
	Offset      int64      `json:"offset"`
	Tail        uint64     `json:"tail"`
	Trail       [][2]int64 `json:"trail,omitempty"` // offset, tail as a signed number
	Lines       int64      `json:"lines,omitempty"`
	Log         string     `json:"log"`
	Incarnation string     `json:"incarnation"`
	Device      uint64     `json:"device"`
	Inode       uint64     `json:"inode"`
	Handle      []byte     `json:"handle,omitempty"`
}

func formatMarks(list []*mark) []byte {
	slices.SortFunc(list, func(a, b *mark) int { return bytes.Compare(a.Stream[:], b.Stream[:]) })
	var b bytes.Buffer
	fmt.Fprintln(&b, marksHeader)
	for _, x := range list {
		j := markJSON{Stream: x.Stream.String(), Path: x.path, Epoch: x.Epoch, Offset: x.Offset, Tail: uint64(x.Tail), Lines: x.Lines,
			Log: x.Life.log.String(), Incarnation: x.Life.incarnation.String(), Device: x.device, Inode: x.inode, Handle: x.handle}
		for _, p := range x.Trail {
			j.Trail = append(j.Trail, [2]int64{p.Offset, int64(p.Tail)})
		}
		line, _ := json.Marshal(j) // of numbers and strings: cannot fail
		fmt.Fprintf(&b, "%08x %s\n", crc32.Checksum(line, castagnoli), line)
	}
	return b.Bytes()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func parseMarks(b []byte) (list []*mark, err error) {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		if n == 1 {
			if s.Text() != marksHeader {
				return nil, fmt.Errorf("line 1: want %q", marksHeader)
			}
			continue
		}
		x, err := parseMark(s.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, x)
	}
	if len(b) == 0 {
		return nil, errors.New("the file is empty")
	}
	return list, s.Err()
}

func parseMark(line string) (*mark, error) {
	sum, body, ok := strings.Cut(line, " ")
	if !ok || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(body), castagnoli)) {
		return nil, errors.New("the checksum does not match")
	}
	var j markJSON
	if err := json.Unmarshal([]byte(body), &j); err != nil {
		return nil, err
	}
	x := &mark{Epoch: j.Epoch, Point: wire.Point{Offset: j.Offset, Tail: wire.Hash(j.Tail)}, Lines: j.Lines,
		identity: identity{handle: j.Handle, device: j.Device, inode: j.Inode, path: j.Path}}
	for _, p := range j.Trail {
		x.Trail = append(x.Trail, wire.Point{Offset: p[0], Tail: wire.Hash(p[1])})
	}
	var errs [3]error
	x.Stream, errs[0] = wire.ParseStreamID(j.Stream)
	x.Life.log, errs[1] = wire.ParseStreamID(j.Log)
	x.Life.incarnation, errs[2] = wire.ParseStreamID(j.Incarnation)
	return x, errors.Join(errs[:]...)
}
