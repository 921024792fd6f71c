package load

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Writer writes one log file as a program does, line by line, and rotates it
// now and then as logrotate does. Every file it begins is a source of its own, unless Numbers is set.
type Writer struct {
	Dir          string
	Name         string
	Seed         Seed
	First        int           // number of its first source; it counts up from there
	Pause        time.Duration // between bursts
	Burst        int           // lines at a time
	Rotate       int           // lines until a rotation; 0: never
	CopyTruncate bool          // rotate by copying the file and truncating it, not by renaming it
	Numbers      bool          // app.log.1 becomes app.log.2, and app.log app.log.1: all files are one source

	Encode func(text []byte) []byte // nil: UTF-8

	turn   sync.Mutex // for one burst, or for another program that rotates the file
	began  bool       // under turn: the file begins anew ...
	reopen bool       // ... and is another one

	mu      sync.Mutex
	written map[int]int // lines by source
	rotated int         // files
}

// Run writes until stop is closed. Whole lines, and now and then half of one
// first, as buffered writers do.
func (w *Writer) Run(stop <-chan struct{}) error {
	random := rand.New(rand.NewPCG(uint64(w.Seed), uint64(w.First)))
	src, seq, since := w.First, 0, 0
	f, err := w.open()
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	tick := time.NewTicker(max(w.Pause, time.Microsecond))
	defer tick.Stop()
	var b []byte
	for {
		w.turn.Lock()
		if w.began {
			src, seq, since = src+1, 0, 0
			f, err = w.again(f)
		}
		if err == nil {
			b = w.Seed.Block(b[:0], src, seq, w.Burst)
			seq, since = seq+w.Burst, since+w.Burst
			if w.Encode != nil {
				b = w.Encode(b)
			}
			err = writeTwice(f, b, random.IntN(len(b)))
		}
		w.turn.Unlock()
		if err != nil {
			return err
		}
		w.note(src, seq)
		if w.Rotate > 0 && since >= w.Rotate {
			if f, err = w.rotate(f, src); err != nil {
				return err
			}
			if since = 0; !w.Numbers {
				src, seq = src+1, 0
			}
		}
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
	}
}

// writeTwice writes b in two halves.
func writeTwice(f *os.File, b []byte, half int) error {
	if _, err := f.Write(b[:half]); err != nil {
		return err
	}
	_, err := f.Write(b[half:])
	return err
}

// again returns the file that is at the path now.
func (w *Writer) again(f *os.File) (*os.File, error) {
	w.began = false
	if !w.reopen {
		return f, nil
	}
	w.reopen = false
	f.Close()
	return w.open()
}

// Reopen has the writer open its path anew, as programs do when logrotate has renamed their
// file. Nothing is written to the file that it had after that.
func (w *Writer) Reopen() {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.reopen, w.began = true, true
}

// Hold has nothing written until release is called, for a program that copies the file and
// truncates it: what that destroys in between is its own fault.
func (w *Writer) Hold() (release func()) {
	w.turn.Lock()
	w.began = true
	return w.turn.Unlock
}

func (w *Writer) path() string { return filepath.Join(w.Dir, w.Name) }

func (w *Writer) open() (*os.File, error) {
	return os.OpenFile(w.path(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
}

// rotate puts the file aside and returns an empty one. Nothing is written
// between the copy and the truncation, so no line is destroyed by it.
func (w *Writer) rotate(f *os.File, src int) (*os.File, error) {
	aside := fmt.Sprintf("%s.%d", w.path(), src)
	if w.Numbers {
		if err := w.shift(); err != nil {
			return f, err
		}
		aside = w.path() + ".1"
	}
	if !w.CopyTruncate {
		f.Close()
		if err := os.Rename(w.path(), aside); err != nil {
			return f, err
		}
		return w.open()
	}
	to, err := os.OpenFile(aside, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return f, err
	}
	defer to.Close()
	if _, err := io.Copy(to, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return f, err
	}
	return f, f.Truncate(0)
}

// shift gives the rotated files the next numbers.
func (w *Writer) shift() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := w.rotated; n > 0; n-- {
		if err := os.Rename(fmt.Sprintf("%s.%d", w.path(), n), fmt.Sprintf("%s.%d", w.path(), n+1)); err != nil {
			return err
		}
	}
	w.rotated++
	return nil
}

// Files is how many files there are, if Numbers is set.
func (w *Writer) Files() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rotated + 1
}

func (w *Writer) note(src, lines int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.written == nil {
		w.written = make(map[int]int)
	}
	w.written[src] = lines
}

// Written is how many lines each source has.
func (w *Writer) Written() map[int]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[int]int, len(w.written))
	for src, n := range w.written {
		all[src] = n
	}
	return all
}
