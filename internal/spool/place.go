package spool

import (
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

// place is how far the segment that is sent was acknowledged. It is also written to a file
// beside the segments, as a second witness: the collector's watermark decides, and only when
// the log's incarnation changed since, which may have lost the watermark, is this believed.
// The file names the spool, too, when no segment is left.
//
//	fanin-spool 1
//	CRC-32C of the rest of the line, 8 hexadecimal digits · space · the place as JSON
type place struct {
	spool, stream wire.StreamID
	epoch         uint32
	wire.Point
	log logID // that acknowledged it
}

const (
	placeName   = "place"
	placeHeader = "fanin-spool 1"
	saveEvery   = time.Second
)

// placeJSON is a place in the file.
type placeJSON struct {
	Spool       string `json:"spool"`
	Stream      string `json:"stream"`
	Epoch       uint32 `json:"epoch"`
	Offset      int64  `json:"offset"`
	Tail        uint64 `json:"tail"`
	Log         string `json:"log"`
	Incarnation string `json:"incarnation"`
}

func (p *place) format() []byte {
	line, _ := json.Marshal(placeJSON{p.spool.String(), p.stream.String(), p.epoch, p.Offset, uint64(p.Tail),
		p.log.log.String(), p.log.incarnation.String()}) // numbers and strings: this cannot fail
	return fmt.Appendf(nil, "%s\n%08x %s\n", placeHeader, disk.Checksum(line), line)
}

func parsePlace(b []byte) (p place, err error) {
	head, line, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\n")
	sum, body, ok := strings.Cut(line, " ")
	if head != placeHeader || !ok || sum != fmt.Sprintf("%08x", disk.Checksum([]byte(body))) {
		return p, errors.New("the checksum does not match")
	}
	var j placeJSON
	if err := json.Unmarshal([]byte(body), &j); err != nil {
		return p, err
	}
	p.epoch, p.Point = j.Epoch, wire.Point{Offset: j.Offset, Tail: wire.Hash(j.Tail)}
	var errs [4]error
	p.spool, errs[0] = wire.ParseStreamID(j.Spool)
	p.stream, errs[1] = wire.ParseStreamID(j.Stream)
	p.log.log, errs[2] = wire.ParseStreamID(j.Log)
	p.log.incarnation, errs[3] = wire.ParseStreamID(j.Incarnation)
	return p, errors.Join(errs[:]...)
}

// readPlace reads what an earlier process wrote. Without it, and when it is damaged, the
// collector's watermarks are enough.
func (s *Spool) readPlace() place {
	b, err := os.ReadFile(filepath.Join(s.Dir, placeName))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}
	}
	p, perr := parsePlace(b)
	if err = errors.Join(err, perr); err != nil {
		s.Log.Warn("the spool's record of what was sent cannot be read; the collector's watermarks decide",
			"dir", s.Dir, "err", err)
		return place{}
	}
	return p
}

// savePlace writes the place if it changed since it was written last; it may be a little behind.
func (r *sender) savePlace(now bool) {
	s := r.s
	s.mu.Lock()
	p := s.place
	s.mu.Unlock()
	if p == r.saved || !now && time.Since(r.savedAt) < saveEvery {
		return
	}
	r.savedAt = time.Now()
	if err := s.Disk.WriteFile(filepath.Join(s.Dir, placeName), p.format(), 0o600); err != nil {
		s.limited.Warn("place", "cannot write the spool's record of what was sent; if the collector loses its state "+
			"meanwhile, lines may be sent twice", "dir", s.Dir, "err", err)
		return
	}
	r.saved = p
}
