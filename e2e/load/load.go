// Package load makes lines that prove themselves, and writes them as programs
// write logs. A line says whose it is and which, and ends in the CRC-32 of all
// that: "s12 345 padding 89abcdef", 46 to 328 bytes.
package load

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// The length of a line, without its newline.
const (
	Least = 46
	Most  = 328
)

var padding = bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog; "), 8)

// Append appends line seq of source src to dst, with its newline. The same line
// is always the same bytes.
func Append(dst []byte, src, seq int) []byte {
	at := len(dst)
	dst = append(dst, 's')
	dst = strconv.AppendInt(dst, int64(src), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(seq), 10)
	dst = append(dst, ' ')
	h := uint32(src)*2654435761 ^ uint32(seq)*2246822519
	h ^= h >> 15
	length := Least + int(h%(Most-Least+1))
	if pad := length - (len(dst) - at) - 9; pad > 0 {
		dst = append(dst, padding[:pad]...)
	}
	sum := crc32.ChecksumIEEE(dst[at:])
	return fmt.Appendf(dst, " %08x\n", sum)
}

var errLine = errors.New("not a whole line of ours")

// Parse reads a line back, without its newline.
func Parse(line []byte) (src, seq int, err error) {
	n := len(line) - 9
	if n < 4 || line[0] != 's' || line[n] != ' ' {
		return 0, 0, errLine
	}
	sum, err := strconv.ParseUint(string(line[n+1:]), 16, 32)
	if err != nil || crc32.ChecksumIEEE(line[:n]) != uint32(sum) {
		return 0, 0, errLine
	}
	fields := bytes.SplitN(line[1:n], []byte{' '}, 3)
	if len(fields) < 2 {
		return 0, 0, errLine
	}
	if src, err = strconv.Atoi(string(fields[0])); err == nil {
		seq, err = strconv.Atoi(string(fields[1]))
	}
	return src, seq, err
}

// Writer writes one log file as a program does, line by line, and rotates it
// now and then by renaming. Every file it begins is a source of its own.
type Writer struct {
	Dir    string
	Name   string
	First  int           // number of its first source; it counts up from there
	Pause  time.Duration // between bursts
	Burst  int           // lines at a time
	Rotate int           // lines until a rotation; 0: never
	Keep   int           // rotated files to keep at least; older ones are removed only by the caller

	mu      sync.Mutex
	written map[int]int // lines by source
}

// Run writes until stop is closed. Whole lines, and now and then half of one
// first, as buffered writers do.
func (w *Writer) Run(stop <-chan struct{}) error {
	path := filepath.Join(w.Dir, w.Name)
	src, seq := w.First, 0
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	var b []byte
	for {
		b = b[:0]
		for range w.Burst {
			b = Append(b, src, seq)
			seq++
		}
		half := rand.IntN(len(b))
		if _, err := f.Write(b[:half]); err != nil {
			return err
		}
		if _, err := f.Write(b[half:]); err != nil {
			return err
		}
		w.note(src, seq)
		if w.Rotate > 0 && seq >= w.Rotate {
			f.Close()
			if err := os.Rename(path, fmt.Sprintf("%s.%d", path, src)); err != nil {
				return err
			}
			src, seq = src+1, 0
			if f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640); err != nil {
				return err
			}
		}
		select {
		case <-stop:
			return nil
		case <-time.After(w.Pause):
		}
	}
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
