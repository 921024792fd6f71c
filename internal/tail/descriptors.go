package tail

import (
	queue "container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/instant"
	"fanin/internal/tail/decode"
)

// descriptors are shared by the followed files. Enough of the process's limit is left for its
// connection, its state and its saved positions. When there are more files, those that are
// acknowledged and have a name are closed, the one that was idle longest first, and opened
// again when they grow. So any number of files is followed, in turn.
//
// A file is held while its follower reads it. Files that wait for a descriptor get one in
// the order in which they asked.
type descriptors struct {
	limit  int // of the process
	most   int // open at a time
	log    *slog.Logger
	closed *atomic.Uint64 // counts the files that were closed
	brief  chan struct{}  // limits the files that are open for a moment, beyond most

	mu       sync.Mutex
	open     int            // descriptors in use
	resting  [2]*queue.List // open files that are not read now: with all lines sent, and with an unfinished one
	waiting  *queue.List    // of chan struct{}, which is closed when it gets a descriptor
	reported bool           // that there are too many files
}

// spare returns how many descriptors of limit are reserved for everything but followed files.
func spare(limit int) int { return max(32, limit/5) }

// newDescriptors shares most descriptors; 0 means what the process's limit leaves.
func newDescriptors(most int, log *slog.Logger, closed *atomic.Uint64) *descriptors {
	d := &descriptors{limit: disk.OpenLimit(), most: most, log: log, closed: closed,
		brief: make(chan struct{}, 4), waiting: queue.New()}
	d.resting = [2]*queue.List{queue.New(), queue.New()}
	if most == 0 {
		d.most = max(4, d.limit-spare(d.limit))
	}
	return d
}

// descriptor is that of one file: open, or closed for now. A call for a closed file opens it
// for a moment.
type descriptor struct {
	all    *descriptors
	key    fileKey
	handle []byte

	archive *archive // what it contains, if it is compressed, and its text is wanted

	// Under all.mu.
	file  *os.File  // nil: closed
	path  string    // where it was last seen
	real  string    // the same without links, which may lead elsewhere later
	held  bool      // its follower reads it
	since time.Time // when that began
	rest  *queue.Element
	list  *queue.List // that rest is in
	done  bool        // closed for good
}

// openFile opens a file. It stays open if there are descriptors.
func (d *descriptors) openFile(path string) (*file, error) {
	d.brief <- struct{}{}
	defer func() { <-d.brief }()
	f, err := openShared(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	system, made := disk.FileSystem(f)
	if made != "" {
		f.Close()
		return nil, &unfit{fmt.Sprintf("it is in a %s file system, which generates its files when they are read", made)}
	}
	x := &descriptor{all: d, path: path, handle: disk.Handle(f), key: fileKey{disk.Device(fi), disk.Inode(fi)}}
	d.mu.Lock()
	stays := d.open < d.most && d.waiting.Len() == 0
	if stays {
		d.open++
		x.file = f
		x.restLocked(d.resting[0])
	} else {
		d.reportLimitLocked()
	}
	d.mu.Unlock()
	if !stays {
		x.named()
		f.Close()
	}
	return &file{f: x, decoder: decode.Plain{}, handle: x.handle, system: system}, nil
}

// reportLimitLocked reports once that there are too many files.
func (d *descriptors) reportLimitLocked() {
	if d.reported {
		return
	}
	d.reported = true
	d.log.Warn("more files than may be open at a time: idle ones are closed and opened again in turn, "+
		"and lines of files that are deleted meanwhile may be lost; "+
		"raise the limit of open files (LimitNOFILE= of the systemd unit, or ulimit -n)",
		"limit", d.limit, "followed_files_open_at_most", d.most)
}

// hold opens the file for its follower, which waits for a descriptor; first says that it gets
// the next one. The error is errVanished if the file cannot be found.
func (x *descriptor) hold(ctx context.Context, first bool) error {
	d := x.all
	d.mu.Lock()
	if x.file != nil {
		x.busyLocked()
		x.heldLocked()
		d.mu.Unlock()
		return nil
	}
	if d.open < d.most && d.waiting.Len() == 0 {
		d.open++
		d.mu.Unlock()
		return x.reopen()
	}
	d.reportLimitLocked()
	mine := make(chan struct{})
	place := d.waiting.PushBack(mine)
	if first {
		d.waiting.MoveToFront(place)
	}
	d.mu.Unlock()
	d.closeIdle()
	select {
	case <-mine:
		return x.reopen()
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-mine: // meanwhile
		d.freeLocked()
	default:
		d.waiting.Remove(place)
	}
	return ctx.Err()
}

// reopen opens the file with a descriptor that was reserved for it.
func (x *descriptor) reopen() error {
	f, path, err := x.find()
	d := x.all
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.freeLocked()
		return err
	}
	x.file, x.path = f, path
	x.heldLocked()
	return nil
}

// find opens the file where it was last seen, or under another name in that directory. Its
// reader compares the content.
func (x *descriptor) find() (*os.File, string, error) {
	known := x.paths()
	for _, path := range known {
		f, err := x.openAt(path)
		if err == nil || !errors.Is(err, errVanished) {
			return f, path, err
		}
	}
	for _, path := range known {
		if path = x.beside(path); path != "" {
			f, err := x.openAt(path)
			return f, path, err
		}
	}
	return nil, "", errVanished
}

// paths returns the last known names of the file.
func (x *descriptor) paths() []string {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	if x.real == "" || x.real == x.path {
		return []string{x.path}
	}
	return []string{x.path, x.real}
}

// openAt opens path if it is this file.
func (x *descriptor) openAt(path string) (*os.File, error) {
	f, err := openShared(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errVanished
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (x.key != fileKey{disk.Device(fi), disk.Inode(fi)} || !slices.Equal(disk.Handle(f), x.handle)) {
		err = errVanished // another file has its name
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// is reports whether fi has this file's device and inode.
func (x *descriptor) is(fi fs.FileInfo, err error) bool {
	return err == nil && x.key == fileKey{disk.Device(fi), disk.Inode(fi)}
}

// beside finds the file's name in the directory of path, "" if it has none there.
func (x *descriptor) beside(path string) string {
	return nameIn(filepath.Dir(path), func(e fs.DirEntry) bool { return e.Type().IsRegular() && x.is(e.Info()) })
}

// errVanished says that a file is neither where it was last seen nor in that directory.
var errVanished = errors.New("the file cannot be found")

// named finds out whether the file can be opened again, and under which name.
func (x *descriptor) named() bool {
	known := x.paths()
	path := known[0]
	for i := 0; !x.is(os.Stat(path)); i++ {
		if i == len(known) {
			return false
		}
		path = x.beside(known[i])
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	x.all.mu.Lock()
	x.path, x.real = path, real
	x.all.mu.Unlock()
	return true
}

// release says that the follower does not need the file now, which may be closed then;
// finished says that all of it was sent.
func (x *descriptor) release(finished bool) {
	d := x.all
	d.mu.Lock()
	if x.held = false; x.file != nil {
		x.busyLocked()
		if finished {
			x.restLocked(d.resting[0])
		} else {
			x.restLocked(d.resting[1])
		}
	}
	wanted := d.waiting.Len() > 0
	d.mu.Unlock()
	if wanted {
		d.closeIdle()
	}
}

func (x *descriptor) heldLocked() {
	if !x.held {
		x.held, x.since = true, time.Now()
	}
}

// hadItsTurn reports whether others wait, and the file was held longer than most.
func (x *descriptor) hadItsTurn(most time.Duration) bool {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	return x.all.waiting.Len() > 0 && time.Since(x.since) > most
}

func (x *descriptor) restLocked(l *queue.List) { x.list, x.rest = l, l.PushBack(x) }

func (x *descriptor) busyLocked() {
	if x.rest != nil {
		x.list.Remove(x.rest)
		x.list, x.rest = nil, nil
	}
}

// closeIdle closes files as long as others wait, the one that was idle longest first, of those that have a name. One
// that seems to have none for a moment, or that a look sees meanwhile, may stay open. So each look ends with another
// call: the file's follower may itself wait for one that waits for a descriptor.
func (d *descriptors) closeIdle() {
	for _, l := range d.resting {
		for {
			d.mu.Lock()
			e := l.Front()
			if e == nil || d.waiting.Len() == 0 {
				d.mu.Unlock()
				break
			}
			x := e.Value.(*descriptor)
			x.busyLocked()
			f := x.file
			d.mu.Unlock()
			if !x.named() {
				continue // it could not be opened again; its follower or a look adds it again
			}
			d.mu.Lock()
			if x.file == f && x.rest == nil && !x.held && !x.done {
				x.file = nil
				d.closed.Add(1)
				d.freeLocked()
				d.mu.Unlock()
				f.Close()
				continue
			}
			d.mu.Unlock()
		}
	}
}

// freeLocked gives a descriptor to the first file that waits, or returns it.
func (d *descriptors) freeLocked() {
	if e := d.waiting.Front(); e != nil {
		close(d.waiting.Remove(e).(chan struct{}))
		return
	}
	d.open--
}

// seen notes under which name a look found the file.
func (x *descriptor) seen(path string) {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	x.path = path
	if x.file != nil && !x.held && x.rest == nil {
		x.restLocked(x.all.resting[0]) // closeIdle chose it, and it had no name then
	}
}

// Close closes the file for good.
func (x *descriptor) Close() error {
	d := x.all
	d.mu.Lock()
	defer d.mu.Unlock()
	x.busyLocked()
	f := x.file
	x.file, x.done = nil, true
	if f == nil {
		return nil
	}
	d.freeLocked()
	return f.Close()
}

// use calls do with the open file, which it opens for a moment if it is closed.
func (x *descriptor) use(do func(f *os.File) error) error {
	for {
		x.all.mu.Lock()
		f, done := x.file, x.done
		x.all.mu.Unlock()
		switch {
		case done:
			return os.ErrClosed
		case f == nil:
			return x.peek(do)
		}
		if err := do(f); !errors.Is(err, os.ErrClosed) {
			return err
		}
	}
}

// peek opens a closed file for a moment.
func (x *descriptor) peek(do func(f *os.File) error) error {
	x.all.brief <- struct{}{}
	defer func() { <-x.all.brief }()
	f, _, err := x.find()
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// ReadAt is os.File's; of an archive it reads the text.
func (x *descriptor) ReadAt(b []byte, offset int64) (n int, err error) {
	if x.archive != nil {
		return x.archive.ReadAt(b, offset)
	}
	return x.readRaw(b, offset)
}

func (x *descriptor) readRaw(b []byte, offset int64) (n int, err error) {
	return x.readParts(offset, b)
}

// readParts is readRaw into several parts, one behind the other.
func (x *descriptor) readParts(offset int64, parts ...[]byte) (n int, err error) {
	err = x.use(func(f *os.File) (err error) {
		n, err = instant.ReadAt(f, offset, parts...)
		return err
	})
	return n, err
}

// Stat is os.File's; the size of an archive is that of its text.
func (x *descriptor) Stat() (fs.FileInfo, error) {
	fi, err := x.statRaw()
	if err == nil && x.archive != nil {
		fi = x.archive.info(fi)
	}
	return fi, err
}

// statRaw is os.File's. A closed file is not opened for it if it is where it was.
func (x *descriptor) statRaw() (fi fs.FileInfo, err error) {
	x.all.mu.Lock()
	closed, path := x.file == nil && !x.done, x.path
	x.all.mu.Unlock()
	if closed {
		if fi, err := os.Stat(path); x.is(fi, err) { // each look does this for many files
			return fi, nil
		}
	}
	err = x.use(func(f *os.File) (err error) {
		fi, err = f.Stat()
		return err
	})
	return fi, err
}

// sync makes what other programs wrote durable.
func (x *descriptor) sync() error { return x.use(disk.Sync) }

// nextData returns where the first bytes are, at offset or behind it, that were ever written.
func (x *descriptor) nextData(offset int64) (at int64) {
	if at = offset; x.archive != nil {
		return at
	}
	x.use(func(f *os.File) error { // the next read reports an error
		at = disk.NextData(f, offset)
		return nil
	})
	return at
}
