package check

import (
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fanin/internal/disk"
	"fanin/sink"
)

// Watcher reads the live file all the time, as tail -F does, and remembers what
// it saw: no byte of it may ever change or vanish, in the file or in the archive
// that is made of it, and no file may shrink.
type Watcher struct {
	path  string
	done  chan struct{}
	stop  chan struct{}
	pause sync.Mutex // held while no process may have the file open
	files []*seen
	found Finding
}

// Finding is what a watcher has to say.
type Finding struct {
	Bytes   int64 // that it saw
	Files   int
	Changed int // bytes that are not what they were, or are not there
	First   string
}

func (f *Finding) say(changed int64, format string, args ...any) {
	f.Changed += int(changed)
	if f.First == "" {
		f.First = fmt.Sprintf(format, args...)
	}
}

// Watch begins; Result ends it.
func Watch(path string) *Watcher {
	w := &Watcher{path: path, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run() // ends by Result
	return w
}

func (w *Watcher) run() {
	defer close(w.done)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		w.now()
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
	}
}

// now takes a look.
func (w *Watcher) now() {
	w.pause.Lock()
	defer w.pause.Unlock()
	w.look()
}

// look reads on in the newest file, and changes to the next one when its path
// names another.
func (w *Watcher) look() {
	fi, err := os.Stat(w.path)
	if err != nil {
		return // just being rotated
	}
	if !w.meets(fi) {
		if len(w.files) > 0 {
			w.newest().read(&w.found)
		}
		f, err := os.Open(w.path)
		if err != nil {
			return
		}
		w.files = append(w.files, newSeen(f, fi))
	}
	w.newest().read(&w.found)
}

// meets makes the file that path names now the newest, if it was seen before:
// mostly it is that anyway, but a power cut may undo a rename.
func (w *Watcher) meets(fi fs.FileInfo) bool {
	for i, s := range slices.Backward(w.files) {
		if s.is(w.path, fi) {
			w.files = append(slices.Delete(w.files, i, i+1), s)
			return true
		}
	}
	return false
}

func (w *Watcher) newest() *seen { return w.files[len(w.files)-1] }

// Pause takes a last look and closes all files, so that their file system can be
// unmounted. Go goes on.
func (w *Watcher) Pause() {
	w.pause.Lock()
	w.look()
	for _, s := range w.files {
		s.close()
	}
}

// Go goes on after Pause.
func (w *Watcher) Go() { w.pause.Unlock() }

// Result stops watching and holds what was seen against the files of the log,
// archives unpacked, and against files that are no longer of the log but open
// here still.
func (w *Watcher) Result(generations []sink.Generation) (Finding, error) {
	close(w.stop)
	<-w.done
	w.now()
	byHead := make(map[string]*seen)
	for _, s := range w.files {
		w.found.Bytes, w.found.Files = w.found.Bytes+s.size, w.found.Files+1
		byHead[string(s.head)] = s
		defer s.close()
	}
	for _, g := range generations {
		if g.Name == "" || g.State == "removed" || g.State == "lost" {
			continue
		}
		if err := w.compare(filepath.Join(filepath.Dir(w.path), g.Name), byHead); err != nil {
			return w.found, err
		}
	}
	for _, s := range w.files {
		switch {
		case s.compared || s.size == 0:
		case s.f == nil:
			w.found.say(s.size, "%s: a file that was seen, %d bytes, is gone; it began %.60q", w.path, s.size, s.head)
		default:
			s.compare(s.name, io.NewSectionReader(s.f, 0, 1<<62), &w.found)
		}
	}
	return w.found, nil
}

// compare holds one file of the log against what was seen of it, if anything.
func (w *Watcher) compare(path string, byHead map[string]*seen) error {
	r, err := open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("%s: %w", path, err)
	}
	s := byHead[string(head[:n])]
	if s == nil {
		return nil // it came and went between two looks
	}
	again, err := open(path)
	if err != nil {
		return err
	}
	defer again.Close()
	s.compare(filepath.Base(path), again, &w.found)
	return nil
}

// headSize is how much of a file's beginning tells it from the others: more than
// a time and a line's own number.
const headSize = 80

// seen is what was read of one file, which stays open: so its inode is not given
// to another file, and what became of it can be looked up when its name is gone.
type seen struct {
	f        *os.File // nil: let go by Pause
	name     string
	inode    uint64
	size     int64
	head     []byte
	chunks   []chunk
	compared bool
}

// chunk is a piece of a file as it was read.
type chunk struct {
	length int
	sum    uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newSeen(f *os.File, fi fs.FileInfo) *seen {
	return &seen{f: f, name: f.Name(), inode: disk.Inode(fi)}
}

func (s *seen) close() {
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// is reports whether path, which fi describes, is this file; after a Pause it
// takes it up again.
func (s *seen) is(path string, fi fs.FileInfo) bool {
	if s.f != nil {
		own, err := s.f.Stat()
		return err == nil && os.SameFile(own, fi)
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	head := make([]byte, len(s.head))
	f.ReadAt(head, 0)
	if disk.Inode(fi) != s.inode || string(head) != string(s.head) {
		f.Close()
		return false
	}
	s.f = f
	return true
}

// read reads what is new, and looks whether the file has become smaller.
func (s *seen) read(found *Finding) {
	if s.f == nil || s.compared {
		return
	}
	if fi, err := s.f.Stat(); err == nil && fi.Size() < s.size {
		found.say(s.size-fi.Size(), "%s shrank from %d bytes to %d", s.name, s.size, fi.Size())
		s.compared = true // nothing more can be said of it
		return
	}
	b := make([]byte, 256<<10)
	for {
		n, _ := s.f.ReadAt(b, s.size)
		if n == 0 {
			return
		}
		s.head = append(s.head, b[:min(n, headSize-len(s.head))]...)
		s.chunks = append(s.chunks, chunk{n, crc32.Checksum(b[:n], castagnoli)})
		s.size += int64(n)
	}
}

// compare reads the file's text again and holds it against what was seen.
func (s *seen) compare(name string, r io.Reader, found *Finding) {
	if s.compared {
		return
	}
	s.compared = true
	var at int64
	b := make([]byte, 256<<10)
	for _, c := range s.chunks {
		n, _ := io.ReadFull(r, b[:c.length])
		if n < c.length || crc32.Checksum(b[:n], castagnoli) != c.sum {
			found.say(int64(c.length), "%s: bytes %d to %d changed or vanished", name, at, at+int64(c.length))
		}
		at += int64(c.length)
	}
}
