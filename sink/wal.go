package sink

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"fanin/internal/disk"
)

// wal is the write-ahead log: a ring of blocks in one file that was filled with
// zeros once, so that a commit changes no metadata, takes no new room and is one
// trip to the disk.
//
// Places in it are counted up for ever and taken modulo the size. A frame lies
// in one piece: one that does not fit before the end begins at the start of the
// ring, and the reader looks there too. What lies between tail and head is not
// yet covered by a checkpoint and is never overwritten.
//
// After a power cut the pages of the last frame may be there in any combination,
// which its sums tell. A frame below the highest lsn known durable was whole
// once: if it is not now, the disk or another process damaged it, and everything after
// it was acknowledged. That is refused, never cut off.
type wal struct {
	f       *disk.File
	size    int64
	epoch   uint64
	lsn     uint64 // of the last frame
	durable uint64 // highest lsn on the disk
	head    int64  // where the next frame may begin
	tail    int64  // everything before is covered by a checkpoint
	buf     []byte // the head of the frame being written
}

const walName = "wal"

// openWAL opens the ring in dir, creating it with size bytes where it is absent
// or of another size. Only call it when nothing in the old one is needed.
func openWAL(d *disk.Disk, dir string, size int64) (*disk.File, error) {
	path := filepath.Join(dir, walName)
	if fi, err := os.Stat(path); err == nil && fi.Size() == size {
		return d.Open(path, os.O_RDWR, 0o640)
	}
	tmp := path + ".new"
	f, err := d.Open(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	err = f.Zero(size)
	f.Close()
	if err == nil {
		err = d.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return nil, fmt.Errorf("make the write-ahead log: %w", err)
	}
	return d.Open(path, os.O_RDWR, 0o640)
}

// errNoRoom is the error when a checkpoint must free the ring first.
var errNoRoom = errors.New("the write-ahead log waits for a checkpoint")

// nextOffset returns where a frame of n bytes would begin and where the next one could.
func (w *wal) nextOffset(n int64) (at, next int64, err error) {
	n = (n + blockSize - 1) / blockSize * blockSize
	if n > w.size {
		return 0, 0, fmt.Errorf("a frame of %d bytes does not fit into the write-ahead log, which has %d", n, w.size)
	}
	at = w.head
	if in := at % w.size; in+n > w.size {
		at += w.size - in
	}
	// The end of the ring that a frame leaves out takes room, unless nothing else does: then a checkpoint frees
	// no more, and a frame of more than half of the ring would wait for ever.
	if w.used() > 0 && at+n-w.tail > w.size {
		return 0, 0, errNoRoom
	}
	return at, at + n, nil
}

// append writes f as the next frame, or nothing and errNoRoom. The frame is not
// committed before sync returned nil.
func (w *wal) append(f *frame) error {
	f.walEpoch, f.lsn, f.durable = w.epoch, w.lsn+1, w.durable
	w.buf = f.appendHead(w.buf[:0])
	at, next, err := w.nextOffset(int64(len(w.buf) + len(f.text)))
	if err != nil {
		return err
	}
	place := at % w.size
	if _, err := w.f.WriteAt(f.text, place+int64(len(w.buf))); err != nil {
		return fmt.Errorf("write the write-ahead log: %w", err)
	}
	if _, err := w.f.WriteAt(w.buf, place); err != nil {
		return fmt.Errorf("write the write-ahead log: %w", err)
	}
	if w.used() == 0 {
		w.tail = at
	}
	w.lsn, w.head = f.lsn, next
	return nil
}

// sync makes all frames so far durable.
func (w *wal) sync() error {
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("sync the write-ahead log: %w", err)
	}
	w.durable = w.lsn
	return nil
}

// used is how much of the ring waits for a checkpoint, in bytes.
func (w *wal) used() int64 { return w.head - w.tail }

// DamagedError reports that a file of the state is not what was written. Nothing is
// changed; the operator decides, see Repair.
type DamagedError struct {
	Path   string
	Offset int64
	Reason string
}

// Error names the place, and what to do.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s, byte %d: %s; nothing was changed. Keep a copy of the directory, then run "+
		"'fanin-collector repair', which keeps every line that can be read and reports the rest",
		e.Path, e.Offset, e.Reason)
}

// walReader reads frames from a ring in their order.
type walReader struct {
	f     io.ReaderAt
	path  string
	size  int64
	epoch uint64
	lsn   uint64 // of the last frame read
	head  int64  // where the next one may begin

	offset int64  // of the last frame in the file
	buf    []byte // its bytes
}

// next returns the next frame, nil at the end. The frame is good until the next call.
func (r *walReader) next() (*frame, error) {
	for _, at := range []int64{r.head, (r.head + r.size - 1) / r.size * r.size} {
		f, n, err := r.at(at % r.size)
		if err != nil {
			return nil, err
		}
		if f != nil && f.walEpoch == r.epoch && f.lsn == r.lsn+1 {
			r.lsn, r.head, r.offset = f.lsn, at+(int64(n)+blockSize-1)/blockSize*blockSize, at%r.size
			r.buf = r.buf[:n]
			return f, nil
		}
	}
	return nil, r.checkEnd()
}

// at returns the whole frame at a place, nil when there is none.
func (r *walReader) at(place int64) (*frame, int, error) {
	head := make([]byte, frameHeader)
	if _, err := r.f.ReadAt(head, place); err != nil {
		return nil, 0, r.failed(place, err)
	}
	size := frameSize(head)
	if size == 0 || place+size > r.size {
		return nil, 0, nil
	}
	if int64(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	b := r.buf[:size]
	if _, err := r.f.ReadAt(b, place); err != nil {
		return nil, 0, r.failed(place, err)
	}
	f, n, err := parseFrame(b)
	if errors.Is(err, errNewerRelease) && f.walEpoch == r.epoch {
		return nil, 0, &DamagedError{r.path, place, err.Error()}
	}
	if err != nil {
		return nil, 0, nil // torn, or of an older epoch
	}
	return f, n, nil
}

func (r *walReader) failed(place int64, err error) error {
	return fmt.Errorf("read the write-ahead log %s at byte %d: %w", r.path, place, err)
}

// checkEnd makes sure that the log really ends here: a later frame of this epoch
// that was written after the missing one was durable proves damage.
func (r *walReader) checkEnd() error {
	end, lsn := r.head, r.lsn
	head := make([]byte, frameHeader)
	for place := int64(0); place+blockSize <= r.size; place += blockSize {
		if _, err := r.f.ReadAt(head, place); err != nil {
			return r.failed(place, err)
		}
		if epoch, durable := frameMarks(head); epoch != r.epoch || durable <= lsn {
			continue // most are: reading only their heads makes a start fast
		}
		f, _, err := r.at(place)
		if err != nil {
			return err
		}
		if f != nil && f.walEpoch == r.epoch && f.lsn > lsn && f.durable > lsn {
			return &DamagedError{r.path, end % r.size, fmt.Sprintf(
				"frame %d of the write-ahead log is damaged, and frame %d at byte %d shows that it was committed",
				lsn+1, f.lsn, place)}
		}
	}
	return nil
}

// wholeFrames returns every frame of the newest epoch that can be read, in the
// order of their lsn, whatever is between them.
func wholeFrames(f io.ReaderAt, size int64) (frames []frame) {
	r := &walReader{f: f, size: size}
	var newest uint64
	for place := int64(0); place+blockSize <= size; place += blockSize {
		if fr, _, err := r.at(place); err == nil && fr != nil {
			fr.text = append([]byte(nil), fr.text...)
			frames = append(frames, *fr)
			newest = max(newest, fr.lsn)
		}
	}
	var life uint64
	for i := range frames {
		if frames[i].lsn == newest {
			life = frames[i].walEpoch
		}
	}
	frames = slices.DeleteFunc(frames, func(f frame) bool { return f.walEpoch != life })
	slices.SortFunc(frames, func(a, b frame) int { return cmp.Compare(a.lsn, b.lsn) })
	return frames
}

// behind keeps the frames that a checkpoint does not cover.
func behind(frames []frame, sl *checkpointSlot) []frame {
	return slices.DeleteFunc(frames, func(f frame) bool { return f.lsn <= sl.LSN })
}
