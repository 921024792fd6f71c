package sink

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// checkpointSlot is a checkpoint as the file "checkpoint" has it: from it and the frames
// behind it, everything that the log acknowledged is found again. The file holds two,
// written in turn, so that a torn one leaves the other. Each is a block of 4096 bytes:
//
//	0 magic "fCKP" · 4 CRC32C of everything from byte 8 to the end of the body · 8 length of the body · 12 body, JSON
type checkpointSlot struct {
	Version        int       `json:"version"`
	Seq            uint64    `json:"seq"` // counts checkpoints; the slot is Seq modulo 2
	Log            string    `json:"log"`
	LogIncarnation string    `json:"incarnation"`
	Boot           string    `json:"boot"`     // of the machine, when it was written
	Sync           string    `json:"sync"`     // the mode it was written in
	Clean          bool      `json:"clean"`    // everything is in the file, and on the disk
	Rotating       bool      `json:"rotating"` // the file may have been moved away since, by us
	WALEpoch       uint64    `json:"life"`
	LSN            uint64    `json:"lsn"`  // of the last frame that is in the file
	Head           int64     `json:"head"` // where the next frame is, if any
	WALSize        int64     `json:"wal_size"`
	Generation     uint64    `json:"generation"`
	Inode          uint64    `json:"inode"`
	Size           int64     `json:"size"`   // of the file
	Ledger         int64     `json:"ledger"` // bytes of the generation's ledger
	CatalogLog     uint64    `json:"table"`
	CatalogLogSize int64     `json:"table_size"`
	Time           time.Time `json:"time"`
	Began          int64     `json:"began,omitempty"` // the incarnation, in microseconds since 1970
}

const (
	slotVersion    = 2 // version 1 had other names in frames and in the catalog log; this release reads both
	slotMagic      = 0x504b4366
	checkpointName = wire.StateMark
	slotHeader     = 12
)

func (s *checkpointSlot) encode() ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil || len(body) > blockSize-slotHeader {
		return nil, fmt.Errorf("a checkpoint of %d bytes does not fit: %v", len(body), err)
	}
	b := make([]byte, blockSize)
	binary.LittleEndian.PutUint32(b, slotMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(body)))
	end := slotHeader + copy(b[slotHeader:], body)
	binary.LittleEndian.PutUint32(b[4:], disk.Checksum(b[8:end]))
	return b, nil
}

func decodeCheckpoint(b []byte) (*checkpointSlot, error) {
	le := binary.LittleEndian
	if len(b) < blockSize || le.Uint32(b) != slotMagic || le.Uint32(b[8:]) > blockSize-slotHeader {
		return nil, errors.New("there is no checkpoint")
	}
	end := slotHeader + int(le.Uint32(b[8:]))
	if disk.Checksum(b[8:end]) != le.Uint32(b[4:]) {
		return nil, errors.New("the checkpoint is torn or damaged")
	}
	var s checkpointSlot
	if err := json.Unmarshal(b[slotHeader:end], &s); err != nil {
		return nil, fmt.Errorf("the checkpoint is not JSON: %w", err)
	}
	if s.Version < 1 || s.Version > slotVersion {
		return nil, fmt.Errorf("the state has version %d, and this release knows versions up to %d: "+
			"install the release that wrote it, or a later one", s.Version, slotVersion)
	}
	return &s, nil
}

// readCheckpoint returns the newest whole slot in dir; nil when there never was one.
// One torn slot is what a crash leaves; two are damage.
func readCheckpoint(dir string) (*checkpointSlot, error) {
	path := filepath.Join(dir, checkpointName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	b = append(b, make([]byte, max(0, 2*blockSize-len(b)))...)
	one, err1 := decodeCheckpoint(b[:blockSize])
	two, err2 := decodeCheckpoint(b[blockSize:])
	switch {
	case one == nil && two == nil && allZero(b[:blockSize]):
		return nil, nil // the very first, which goes to the second place, was never finished
	case one == nil && two == nil:
		return nil, &DamagedError{path, 0, fmt.Sprintf("neither checkpoint can be read: %v; %v", err1, err2)}
	case two == nil || one != nil && one.Seq > two.Seq:
		return one, nil
	}
	return two, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// ids returns the log's id and incarnation.
func (s *checkpointSlot) ids() (log, incarnation wire.StreamID, err error) {
	if log, err = wire.ParseStreamID(s.Log); err == nil {
		incarnation, err = wire.ParseStreamID(s.LogIncarnation)
	}
	return log, incarnation, err
}

// openCheckpoints opens the file of both slots and makes its content durable: a process
// that was killed between a write and its sync leaves a slot in the page cache only. The
// next checkpoint overwrites the other slot, and while that is written, this one is the
// only one. It is written again, because after a failed sync the page cache shows bytes
// that are not on the disk.
func openCheckpoints(d *disk.Disk, dir string) (*disk.File, error) {
	f, err := d.Open(filepath.Join(dir, checkpointName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := keepCheckpoints(f, d, dir); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func keepCheckpoints(f *disk.File, d *disk.Disk, dir string) error {
	both := make([]byte, 2*blockSize)
	_, err := f.File.ReadAt(both, 0)
	if errors.Is(err, io.EOF) {
		if err := f.Zero(2 * blockSize); err != nil {
			return err
		}
		return d.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	if _, err := f.WriteAt(both, 0); err != nil {
		return fmt.Errorf("write the checkpoint again: %w", err)
	}
	return f.Sync()
}
