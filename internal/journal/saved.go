package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// savedName is the file of the saved places in the state directory. It holds a header, and a line
// for each sequence: the CRC-32C of the rest in eight hexadecimal digits, a space, and JSON.
//
// The collector's watermarks count. A saved place is used where another incarnation of the log
// knows less than the one before: it keeps entries from being sent twice. It also says how far
// entries were read that yield no line.
const (
	savedName   = "journal"
	savedHeader = "fanin journal 1"
)

// savedPlace is how far a sequence was sent.
type savedPlace struct {
	Sequence    string `json:"sequence"`
	Epoch       uint32 `json:"epoch"`
	Offset      int64  `json:"offset"`
	Witness     uint64 `json:"witness"`
	Log         string `json:"log"`
	Incarnation string `json:"incarnation"`
	Read        uint64 `json:"read"` // number of the latest entry of which nothing more is to be sent
	Time        int64  `json:"time"` // its time
}

// saveEvery is the shortest time between two writes.
const saveEvery = 2 * time.Second

// save writes the places, but not too often; last: in any case.
func (j *Journal) save(last bool) {
	if j.State == "" || len(j.streams) == 0 || !last && time.Since(j.saved) < saveEvery {
		return
	}
	j.saved = time.Now()
	b := []byte(savedHeader + "\n")
	for id, s := range j.streams {
		w, p := s.seq.Watermark(), j.done[id]
		line, _ := json.Marshal(savedPlace{Sequence: id.String(), Epoch: w.Epoch, Offset: w.Offset,
			Witness: uint64(w.Tail), Log: s.log.log.String(), Incarnation: s.log.incarnation.String(),
			Read: p.number, Time: p.time}) // numbers and strings: this cannot fail
		b = fmt.Appendf(b, "%08x %s\n", disk.Checksum(line), line)
	}
	if err := new(disk.Disk).WriteFile(filepath.Join(j.State, savedName), b, 0o640); err != nil {
		j.limited.Error("save", "cannot write how far the journal was sent; if the collector loses its state "+
			"meanwhile, lines may be sent twice", "err", err)
	}
}

// restore reads the places. What is damaged is left out: the collector's watermarks are enough.
func (j *Journal) restore() {
	if j.State == "" {
		return
	}
	b, err := os.ReadFile(filepath.Join(j.State, savedName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	list, perr := parseSaved(b)
	if err = errors.Join(err, perr); err != nil {
		j.Log.Warn("the record of how far the journal was sent cannot be read; the collector's watermarks decide "+
			"where it continues", "err", err)
	}
	for _, x := range list {
		x.restore(j)
	}
}

// restore makes a saved place the local one of its stream.
func (x *restored) restore(j *Journal) {
	s := newStream(j, x.id)
	s.seq.Adopt(x.watermark)
	s.log = x.log
	j.streams[x.id] = s
	if x.read.number > s.latest().number {
		j.done[x.id] = x.read
	}
}

// restored is a savedPlace in the form in which it is used.
type restored struct {
	id        sequenceID
	watermark wire.Watermark
	log       logID
	read      place
}

// parseSaved parses the content of the file. It returns what is whole, and the first error.
func parseSaved(b []byte) (list []restored, err error) {
	head, rest, _ := bytes.Cut(b, []byte{'\n'})
	if string(head) != savedHeader {
		return nil, fmt.Errorf("line 1: want %q", savedHeader)
	}
	for n, line := range strings.Split(strings.TrimSuffix(string(rest), "\n"), "\n") {
		x, lerr := parsePlace(line)
		if lerr != nil {
			err = errors.Join(err, fmt.Errorf("line %d: %w", n+2, lerr))
			continue
		}
		list = append(list, x)
	}
	return list, err
}

func parsePlace(line string) (x restored, err error) {
	sum, body, _ := strings.Cut(line, " ")
	if sum != fmt.Sprintf("%08x", disk.Checksum([]byte(body))) {
		return x, errors.New("the checksum does not match")
	}
	var p savedPlace
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		return x, err
	}
	id, err := wire.ParseStreamID(p.Sequence)
	log, lerr := wire.ParseStreamID(p.Log)
	incarnation, ierr := wire.ParseStreamID(p.Incarnation)
	x = restored{id: sequenceID(id), log: logID{log, incarnation},
		watermark: wire.Watermark{Epoch: p.Epoch, Point: wire.Point{Offset: p.Offset, Tail: wire.Hash(p.Witness)}},
		read:      place{id: sequenceID(id), number: p.Read, time: p.Time}}
	return x, errors.Join(err, lerr, ierr)
}
