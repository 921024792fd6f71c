package check

import (
	"fmt"
	"hash/crc32"
	"os"
	"time"
)

// Watcher reads the live file all the time, as tail -F does, and remembers what
// it saw: no byte of it may ever change, and no file shrink.
type Watcher struct {
	path  string
	files []*seen
	stop  chan struct{}
	done  chan struct{}
}

// seen is what was read of one file, which stays open.
type seen struct {
	f      *os.File
	size   int64
	chunks []chunk
}

type chunk struct {
	at, length int64
	sum        uint32
}

// Watch begins; Result ends it.
func Watch(path string) *Watcher {
	w := &Watcher{path: path, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run() // ends by Result
	return w
}

func (w *Watcher) run() {
	defer close(w.done)
	for {
		w.look()
		select {
		case <-w.stop:
			w.look()
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// look reads on in the newest file, and changes to the next one when its path
// names another.
func (w *Watcher) look() {
	fi, err := os.Stat(w.path)
	if err != nil {
		return // just being rotated
	}
	if len(w.files) == 0 || !same(w.files[len(w.files)-1].f, fi) {
		f, err := os.Open(w.path)
		if err != nil {
			return
		}
		if len(w.files) > 0 {
			w.files[len(w.files)-1].read()
		}
		w.files = append(w.files, &seen{f: f})
	}
	w.files[len(w.files)-1].read()
}

func same(f *os.File, fi os.FileInfo) bool {
	own, err := f.Stat()
	return err == nil && os.SameFile(own, fi)
}

func (s *seen) read() {
	b := make([]byte, 256<<10)
	for {
		n, _ := s.f.ReadAt(b, s.size)
		if n == 0 {
			return
		}
		s.chunks = append(s.chunks, chunk{s.size, int64(n), crc32.ChecksumIEEE(b[:n])})
		s.size += int64(n)
	}
}

// Result stops watching and counts the bytes that are not what they were.
func (w *Watcher) Result() (changed int, first string) {
	close(w.stop)
	<-w.done
	for _, s := range w.files {
		for _, c := range s.chunks {
			b := make([]byte, c.length)
			n, _ := s.f.ReadAt(b, c.at)
			if int64(n) < c.length || crc32.ChecksumIEEE(b) != c.sum {
				changed += int(c.length)
				if first == "" {
					first = fmt.Sprintf("%s: bytes %d to %d changed or vanished", s.f.Name(), c.at, c.at+c.length)
				}
			}
		}
		s.f.Close()
	}
	return changed, first
}
