package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fanin/internal/disk"
)

// readFrames reads the frames behind the checkpoint.
func (r *recovery) readFrames() error {
	path := filepath.Join(r.s.State, walName)
	f, err := r.s.Disk.Open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) && (r.slot.Clean || r.slot.Head == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() != r.slot.WALSize {
		if r.slot.Head == 0 {
			return nil // it was being made when the machine stopped, and holds nothing yet
		}
		return &DamagedError{path, 0, fmt.Sprintf("the write-ahead log should have %d bytes", r.slot.WALSize)}
	}
	wr := &walReader{f: f, path: path, size: r.slot.WALSize, epoch: r.slot.WALEpoch, lsn: r.slot.LSN, head: r.slot.Head}
	for {
		fr, err := wr.next()
		if err != nil || fr == nil {
			r.slot.LSN = wr.lsn
			return err
		}
		if fr.generation != r.slot.Generation {
			return &DamagedError{path, wr.head % wr.size, fmt.Sprintf("a frame of generation %d behind a "+
				"checkpoint of generation %d", fr.generation, r.slot.Generation)}
		}
		r.unsynced = slices.DeleteFunc(r.unsynced, func(l unsyncedFrame) bool { return l.lsn <= fr.durable })
		r.unsynced = append(r.unsynced, unsyncedFrame{fr.lsn, wr.offset, wr.buf})
		r.redo = append(r.redo, *fr)
		wr.buf = nil // the frame's text is in it
	}
}

// unsyncedFrame is a frame that no later one names as durable, with its bytes in the ring.
type unsyncedFrame struct {
	lsn    uint64
	offset int64
	raw    []byte
}

// syncFrames makes the last frames durable before the log's file gets their text:
// a process that was killed between a write and its sync leaves them in the page
// cache. If the power is cut before the first checkpoint, the file must not hold
// lines that no frame has. They are written again: after a failed sync the page cache
// shows bytes that are not on the disk.
func (r *recovery) syncFrames() error {
	if len(r.unsynced) == 0 {
		return nil
	}
	f, err := r.s.Disk.Open(filepath.Join(r.s.State, walName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, l := range r.unsynced {
		if _, err := f.WriteAt(l.raw, l.offset); err != nil {
			return fmt.Errorf("write the write-ahead log again: %w", err)
		}
	}
	r.unsynced = nil
	return f.Sync()
}

// rewrite writes the frames' text into the file where it belongs. It returns the file's
// size then, and whether the file holds all that the checkpoint and the frames say.
func (r *recovery) rewrite(path string) (size int64, complete bool, err error) {
	f, err := r.s.Disk.Open(path, os.O_RDWR, 0) // its own descriptor: pwrite into an O_APPEND one appends
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	if fi.Size() < r.slot.Size {
		return fi.Size(), false, nil // truncated
	}
	at := r.slot.Size
	var have []byte
	for i := range r.redo {
		have = slices.Grow(have[:0], len(r.redo[i].text))[:len(r.redo[i].text)]
		if same, err := holdsPartOf(f, r.redo[i].text, at, have); err != nil {
			return 0, false, err
		} else if !same {
			landed, err := r.writtenBehind(f)
			return fi.Size(), landed, err
		}
		at += int64(len(r.redo[i].text))
	}
	at = r.slot.Size
	for i := range r.redo {
		if err := r.writeWithRoom(f, r.redo[i].text, at); err != nil {
			return 0, false, err
		}
		at += int64(len(r.redo[i].text))
	}
	if err := f.Sync(); err != nil {
		return 0, false, fmt.Errorf("sync the log: %w", err)
	}
	return max(fi.Size(), at), true, nil
}

// writeWithRoom writes text at a place, for as long as it takes to find the room.
func (r *recovery) writeWithRoom(f *disk.File, text []byte, at int64) error {
	for {
		_, err := f.WriteAt(text, at)
		if err == nil || !disk.IsFull(err) {
			return err
		}
		if err := r.w.pause(err); err != nil {
			return err
		}
	}
}

// holdsPartOf reports whether the file holds, at a place, a part of text or zeros. It reads into have,
// which is as long as text.
func holdsPartOf(f io.ReaderAt, text []byte, at int64, have []byte) (bool, error) {
	n, err := f.ReadAt(have, at)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read the log: %w", err)
	}
	if bytes.Equal(have[:n], text[:n]) {
		return true, nil
	}
	for i, c := range have[:n] {
		if c != text[i] && c != 0 {
			return false, nil
		}
	}
	return true, nil
}

// writtenBehind reports whether the frames' text follows bytes that another process
// appended first: it was written, but not at its place.
func (r *recovery) writtenBehind(f *disk.File) (bool, error) {
	var text []byte
	for i := range r.redo {
		text = append(text, r.redo[i].text...)
	}
	fi, err := f.Stat()
	if err != nil {
		return false, err
	}
	behind := make([]byte, fi.Size()-r.slot.Size)
	if _, err := f.ReadAt(behind, r.slot.Size); err != nil && err != io.EOF {
		return false, fmt.Errorf("read the log: %w", err)
	}
	return strings.Contains(string(behind), string(text)), nil
}

func textSize(frames []frame) (n int64) {
	for i := range frames {
		n += int64(len(frames[i].text))
	}
	return n
}

func countAll(frames []frame) (lines int) {
	for i := range frames {
		for _, r := range frames[i].records {
			lines += int(r.lines)
		}
	}
	return lines
}
