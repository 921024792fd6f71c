package tail

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// savedPosition is the agent's own record of a stream: a second witness of what is in the log. It is
// believed before the collector's watermark only when the log's incarnation changed.
type savedPosition struct {
	Stream wire.StreamID
	Epoch  uint32
	wire.Point
	Trail []wire.Point
	Lines int64
	Log   logID
	Agent string // the owner of the stream; "" in saved positions of an older release
	Sent  int64  // end of the last batch that was sent; not before Point
	Live  bool   // the process went on after it wrote the saved position
	identity
	unsentText

	// told is what the collector was told of the same file, nil if nothing or of another one: one of the
	// two may be older than a change of its device's numbers. It is not saved.
	told *identity
}

// unsentText is what is known of a file's texts that were lost, or of which nothing was sent, beside its identity.
type unsentText struct {
	Start bool  `json:"start,omitempty"`      // it is followed from this place
	Copy  bool  `json:"maybe_copy,omitempty"` // it may be a copy of another one
	Seen  int64 `json:"seen,omitempty"`       // its modification time when it was last seen, in ns ...
	Begun int64 `json:"begun,omitempty"`      // ... and when its text was first seen, also if some was sent; 0: none
	More  bool  `json:"more,omitempty"`       // some was sent, and the file had more

	// Now is what the file was called last, if otherwise than its path: copies may be named after either.
	Now string `json:"now,omitempty"`

	// Unsought is since when, in ns, an earlier text may be in a copy that was not searched for yet; 0: there is none.
	Unsought int64 `json:"unsought,omitempty"`

	// LostOf is the path of a file that lost a text which this one may have, see noteLostTexts.
	LostOf string `json:"lost_of,omitempty"`

	// Former is the text before this one, of which some was sent, and no copy was found when it was lost.
	Former savedText `json:"former,omitzero"`
}

// savedPositions holds all saved positions and writes them to one file, "marks", which is
// replaced as a whole:
//
//	fanin-marks 1
//	CRC32C of the rest of the line, 8 hexadecimal digits · space · a saved position as JSON
//	...
type savedPositions struct {
	disk *disk.Disk
	path string

	writing sync.Mutex // for one write at a time

	mu    sync.Mutex
	list  map[wire.StreamID]*savedPosition
	dirty bool
	saved time.Time
	wrote bool          // the file exists, or existed
	left  bool          // another agent owns the directory now: write no more
	took  time.Duration // the last write

	written time.Time // when the saved positions that were read were written
}

const positionsHeader = "fanin-marks 1"

// saveEvery is how old a saved position may get, unless there are so many that writing them takes
// long. Saved positions matter only when the collector lost its state, so they may be a little behind.
const saveEvery = time.Second

// openPositions reads the saved positions in dir. A damaged file is renamed and reported:
// the collector's watermarks are enough. first reports that there never were any.
func openPositions(d *disk.Disk, dir string, log *slog.Logger) (m *savedPositions, first bool, err error) {
	if err := d.MkdirAll(dir, 0o750); err != nil {
		return nil, false, fmt.Errorf("make the directory of the saved positions: %w", err)
	}
	m = &savedPositions{disk: d, path: filepath.Join(dir, "marks"), list: make(map[wire.StreamID]*savedPosition)}
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the saved positions: %w", err)
	}
	m.wrote = true
	if fi, err := os.Stat(m.path); err == nil {
		m.written = fi.ModTime()
	}
	list, err := parsePositions(b)
	if err != nil {
		aside := m.path + ".damaged"
		log.Error("the saved positions are damaged and were renamed; "+
			"the collector's watermarks decide where files continue", "path", m.path, "aside", aside, "err", err)
		if err := d.Rename(m.path, aside); err != nil {
			return nil, false, fmt.Errorf("rename the damaged saved positions: %w", err)
		}
	}
	for _, x := range list {
		m.list[x.Stream] = x
	}
	return m, false, nil
}

// put sets a saved position. It is written to the disk a little later.
func (m *savedPositions) put(x *savedPosition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.putLocked(x)
}

func (m *savedPositions) putLocked(x *savedPosition) { m.list[x.Stream], m.dirty = x, true }

// replace sets saved positions in the place of one, all at once.
func (m *savedPositions) replace(old wire.StreamID, all ...*savedPosition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.list, old)
	for _, x := range all {
		m.list[x.Stream] = x
	}
	m.dirty = true
}

// update sets the saved position of a stream in which nothing was sent. If something may have been, it
// changes what is known of the file alone.
func (m *savedPositions) update(x *savedPosition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was := m.list[x.Stream]; was != nil && (!was.Copy || x.Copy) {
		mine := *was // saved positions are replaced, never changed
		mine.identity, mine.unsentText = x.identity, x.unsentText
		mine.Start = was.Start
		if was.Offset > 0 {
			mine.head = was.head
		}
		if mine.unsentText == was.unsentText && mine.identity.equal(&was.identity) {
			return
		}
		x = &mine
	}
	m.putLocked(x)
}

// refresh is update for a stream that has a saved position: another one has ended, or was never begun.
func (m *savedPositions) refresh(x *savedPosition) {
	if m.get(x.Stream) != nil {
		m.update(x)
	}
}

// amend changes what a saved position says of its file's text, if there is one.
// A follower may save a newer one at the same time: neither takes the other back.
func (m *savedPositions) amend(id wire.StreamID, change func(*savedPosition)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.list[id]
	if was == nil {
		return
	}
	mine := *was // saved positions are replaced, never changed
	if change(&mine); mine.unsentText != was.unsentText {
		m.putLocked(&mine)
	}
}

// remove removes the saved position of a stream that ended.
func (m *savedPositions) remove(id wire.StreamID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.list, id)
	m.dirty = true
}

// get returns a stream's saved position, nil if there is none.
func (m *savedPositions) get(id wire.StreamID) *savedPosition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list[id]
}

// all returns a copy of the saved positions.
func (m *savedPositions) all() map[wire.StreamID]*savedPosition {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[wire.StreamID]*savedPosition, len(m.list))
	for id, x := range m.list {
		all[id] = x // saved positions are replaced, never changed
	}
	return all
}

// abandon leaves the directory to another agent.
func (m *savedPositions) abandon() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = true
}

// deletedLocked reports whether the file was deleted.
func (m *savedPositions) deletedLocked() bool {
	_, err := os.Lstat(m.path)
	return m.wrote && errors.Is(err, fs.ErrNotExist)
}

// save writes the saved positions if they changed or were deleted, unless it did so just before.
func (m *savedPositions) save() error {
	m.mu.Lock()
	due := time.Since(m.saved) >= max(saveEvery, restBlind*m.took)
	m.mu.Unlock()
	if !due {
		return nil
	}
	return m.write(false)
}

// write writes the saved positions if they changed or were deleted; last: nothing is sent any
// more, and writes them in any case. Of many calls at a time, few write.
func (m *savedPositions) write(last bool) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	m.dirty = m.dirty || m.deletedLocked()
	if m.left || !m.dirty && !last {
		m.mu.Unlock()
		return nil
	}
	began := time.Now()
	m.dirty, m.wrote, m.saved = false, true, began
	list := make([]*savedPosition, 0, len(m.list))
	for _, x := range m.list {
		list = append(list, x)
	}
	m.mu.Unlock()
	if err := m.disk.WriteFile(m.path, formatPositions(list, !last), 0o640); err != nil {
		m.mu.Lock()
		m.dirty = true
		m.mu.Unlock()
		return err
	}
	m.mu.Lock()
	m.took = time.Since(began)
	m.mu.Unlock()
	return nil
}

// dropStarts removes the saved positions of files of which nothing was sent. Those where another version of
// the file stopped stay: they name the log that has it.
func (m *savedPositions) dropStarts() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, x := range m.list {
		if x.Start && x.Log == (logID{}) {
			delete(m.list, id)
			m.dirty = true
		}
	}
}

// adopt makes the saved positions this agent's. A stream belongs to the agent that opened it: under
// another id the collector knows none of them, so each file continues at its saved position as a new
// stream. What the previous agent sent behind a saved position may be sent again.
func (m *savedPositions) adopt(agent string) (was string, streams int, duplicates int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, x := range m.list {
		if x.Agent == "" || x.Agent == agent {
			continue
		}
		mine := *x // saved positions are replaced, never changed
		mine.Stream, mine.Agent, mine.Sent = wire.NewStreamID(), agent, x.Offset
		delete(m.list, id)
		m.list[mine.Stream] = &mine
		was, streams, duplicates = x.Agent, streams+1, duplicates+x.possibleDuplicates()
		m.dirty = true
	}
	return was, streams, duplicates
}

// possibleDuplicates returns how many bytes behind the saved position the collector may have without
// an answer. A saved position that was written while its process went on may be older than the
// process's last batches, so the file's size is the bound then.
func (x *savedPosition) possibleDuplicates() int64 {
	end := x.Sent
	if fi, err := os.Stat(x.path); x.Live && err == nil && disk.Inode(fi) == x.inode {
		end = fi.Size()
	}
	return max(0, end-x.Offset)
}

// positionJSON is a saved position in the file.
type positionJSON struct {
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
	System      uint64     `json:"system,omitempty"`
	HeadBits    uint8      `json:"head_bits,omitempty"`
	Head        uint64     `json:"head,omitempty"`
	Real        string     `json:"real,omitempty"`
	Agent       string     `json:"agent,omitempty"`
	Sent        int64      `json:"sent,omitempty"`
	Live        bool       `json:"live,omitempty"`
	unsentText
}

// formatPositions makes the content of the file. live: batches are sent meanwhile.
func formatPositions(list []*savedPosition, live bool) []byte {
	slices.SortFunc(list, func(a, b *savedPosition) int { return bytes.Compare(a.Stream[:], b.Stream[:]) })
	var b bytes.Buffer
	fmt.Fprintln(&b, positionsHeader)
	for _, x := range list {
		j := positionJSON{Stream: x.Stream.String(), Path: x.path, Epoch: x.Epoch,
			Offset: x.Offset, Tail: uint64(x.Tail), Lines: x.Lines,
			Log: x.Log.log.String(), Incarnation: x.Log.incarnation.String(),
			Device: x.device, Inode: x.inode, Handle: x.handle, System: x.system,
			HeadBits: x.head.bits, Head: uint64(x.head.sum), Real: x.real,
			Agent: x.Agent, Sent: x.Sent, Live: live, unsentText: x.unsentText}
		for _, p := range x.Trail {
			j.Trail = append(j.Trail, [2]int64{p.Offset, int64(p.Tail)})
		}
		line, _ := json.Marshal(j) // numbers and strings: this cannot fail
		fmt.Fprintf(&b, "%08x %s\n", disk.Checksum(line), line)
	}
	return b.Bytes()
}

func parsePositions(b []byte) (list []*savedPosition, err error) {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		if n == 1 {
			if s.Text() != positionsHeader {
				return nil, fmt.Errorf("line 1: want %q", positionsHeader)
			}
			continue
		}
		x, err := parsePosition(s.Text())
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

func parsePosition(line string) (*savedPosition, error) {
	sum, body, ok := strings.Cut(line, " ")
	if !ok || sum != fmt.Sprintf("%08x", disk.Checksum([]byte(body))) {
		return nil, errors.New("the checksum does not match")
	}
	var j positionJSON
	if err := json.Unmarshal([]byte(body), &j); err != nil {
		return nil, err
	}
	x := &savedPosition{Epoch: j.Epoch, Point: wire.Point{Offset: j.Offset, Tail: wire.Hash(j.Tail)}, Lines: j.Lines,
		Agent: j.Agent, Sent: max(j.Sent, j.Offset), Live: j.Live,
		unsentText: j.unsentText,
		identity: identity{handle: j.Handle, device: j.Device, inode: j.Inode, path: j.Path,
			system: j.System, head: head{j.HeadBits, wire.Hash(j.Head)}, real: j.Real}}
	for _, p := range j.Trail {
		x.Trail = append(x.Trail, wire.Point{Offset: p[0], Tail: wire.Hash(p[1])})
	}
	var errs [3]error
	x.Stream, errs[0] = wire.ParseStreamID(j.Stream)
	x.Log.log, errs[1] = wire.ParseStreamID(j.Log)
	x.Log.incarnation, errs[2] = wire.ParseStreamID(j.Incarnation)
	return x, errors.Join(errs[:]...)
}
