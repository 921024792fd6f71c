package tail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"fanin/internal/instant"
)

// watcher listens to the kernel, see inotify(7). A directory is watched for what is created and
// removed there, and for writes to its files only where that is wanted: the kernel reports those of
// all its files, also of files that are not followed, and each report wakes the process.
type watcher struct {
	*listener
	heard atomic.Int64 // reports
	file  *os.File

	mu    sync.Mutex
	dirs  map[int32]string    // by watch
	files map[int32]*follower // by watch
	own   map[*follower]int32 // the reverse of files
}

const dirChanges = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF |
	unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func newWatcher(wrote func(path string)) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &watcher{listener: newListener(wrote), file: os.NewFile(uintptr(fd), "inotify"),
		dirs: make(map[int32]string), files: make(map[int32]*follower), own: make(map[*follower]int32)}
	go w.listen() // ends by close
	return w, nil
}

func (w *watcher) close() {
	w.file.Close()
	<-w.ended
}

// add watches a path.
func (w *watcher) add(path string, mask uint32) (watch int32, err error) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(fd), path, mask)
		watch = int32(n)
	})
	return watch, errors.Join(cerr, err)
}

// watchDir watches a directory; with writes, also for writes to its files.
func (w *watcher) watchDir(dir string, writes bool) error {
	mask := uint32(dirChanges)
	if writes {
		mask |= unix.IN_MODIFY
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	watch, err := w.add(dir, mask)
	if err == nil {
		w.dirs[watch] = dir
	}
	return err
}

// watchFiles watches files for writes, and reports whether it can.
func (w *watcher) watchFiles(all []*follower) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range all {
		if watch, is := w.own[f]; is && w.files[watch] == f { // else its name led to the file of another one
			continue
		}
		watch, err := w.add(f.name(), unix.IN_MODIFY)
		if errors.Is(err, unix.ENOENT) {
			continue // it was renamed: the next look knows its name
		}
		if err != nil {
			return false
		}
		w.files[watch], w.own[f] = f, watch
		f.notify() // it may have been written to before
	}
	return true
}

// keep ends the watching of all other files.
func (w *watcher) keep(files map[*follower]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f, watch := range w.own {
		if files[f] {
			continue
		}
		delete(w.own, f)
		if w.files[watch] != f {
			continue // it ended, or the file has another follower: the kernel has one watch for a file
		}
		delete(w.files, watch)
		raw, err := w.file.SyscallConn()
		if err == nil {
			raw.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(watch)) }) // it may have ended
		}
	}
}

func (w *watcher) forgetLocked(watch int32) {
	if f := w.files[watch]; w.own[f] == watch {
		delete(w.own, f)
	}
	delete(w.files, watch)
	delete(w.dirs, watch)
}

// listen reads reports until the watcher is closed.
func (w *watcher) listen() {
	defer close(w.ended)
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	b := make([]byte, 64<<10)
	raw.Read(func(fd uintptr) (ended bool) { // the error is that it is closed
		n, err := instant.Read(fd, b)
		for err == 0 && n > 0 {
			for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
				rest = w.report(rest)
			}
			if n < len(b)-longestReport {
				return false // there was no more, and what came since ends the wait
			}
			n, err = instant.Read(fd, b)
		}
		return err != unix.EAGAIN
	})
}

// longestReport is how long a report may be.
const longestReport = unix.SizeofInotifyEvent + unix.NAME_MAX + 1

// report acts upon the first report in b, and returns those behind it.
func (w *watcher) report(b []byte) (rest []byte) {
	const length = 12 // where struct inotify_event has the length of the name
	watch, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
	name := b[unix.SizeofInotifyEvent:]
	name = name[:min(len(name), int(binary.NativeEndian.Uint32(b[length:])))]
	rest = b[unix.SizeofInotifyEvent+len(name):]
	w.heard.Add(1)
	w.mu.Lock()
	dir, f := w.dirs[watch], w.files[watch]
	if mask&unix.IN_IGNORED != 0 { // it was deleted, or keep ended it
		w.forgetLocked(watch)
	}
	w.mu.Unlock()
	switch {
	case mask&unix.IN_IGNORED != 0 && dir == "":
	case mask&unix.IN_MODIFY == 0:
		w.changed.Store(true)
	case f != nil:
		f.notify()
	case dir != "":
		w.wrote(filepath.Join(dir, string(bytes.TrimRight(name, "\x00"))))
	}
	return rest
}
