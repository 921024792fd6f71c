package load

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWriter: however a file is rotated, each line is in one of its files, whole,
// and each file holds one source.
func TestWriter(t *testing.T) {
	f := func(name string, copyTruncate bool) {
		t.Run(name, func(t *testing.T) {
			w := &Writer{Dir: t.TempDir(), Name: "app.log", Burst: 10, Rotate: 30, CopyTruncate: copyTruncate}
			stop, done := make(chan struct{}), make(chan error)
			go func() { done <- w.Run(stop) }() // ends by stop
			for end := time.Now().Add(10 * time.Second); w.Written()[3] == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it does not rotate")
				}
			}
			close(stop)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			got := make(map[int]int)
			files, _ := filepath.Glob(filepath.Join(w.Dir, "app.log*"))
			for _, path := range files {
				count(t, path, got)
			}
			for src, n := range w.Written() {
				if got[src] != n {
					t.Errorf("source %d: %d lines in the files, %d written", src, got[src], n)
				}
			}
		})
	}
	f("rename", false)
	f("copytruncate", true)
}

// count counts the lines of a file, which must be one source's, in order.
func count(t *testing.T, path string, lines map[int]int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next, first := 0, -1
	for line := range bytes.Lines(b) {
		src, seq, err := Parse(bytes.TrimSuffix(line, []byte("\n")))
		if first < 0 {
			first = src
		}
		if err != nil || seq != next || src != first {
			t.Fatalf("%s: %q is source %d, line %d (%v); want source %d, line %d", path, line, src, seq, err, first, next)
		}
		next++
		lines[src]++
	}
}

// TestSender: what it says it sent has arrived, in order, at the rate asked for.
func TestSender(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := &Sender{Network: "tcp", Addr: ln.Addr().String(), Source: 5, Lines: 500, Rate: 5000}
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Run(nil) }() // ends with its lines
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || s.Sent() != 500 {
		t.Fatalf("sent %d lines: %v", s.Sent(), err)
	}
	if took := time.Since(began); took < 80*time.Millisecond {
		t.Errorf("500 lines at 5,000 a second took %v", took)
	}
	if want := Seed(0).Block(nil, 5, 0, 500); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes arrived, not the %d that were to be sent", got.Len(), len(want))
	}
}

// TestWriterNumbers: the files of a source that are rotated by numbers have its lines, in their order.
func TestWriterNumbers(t *testing.T) {
	w := &Writer{Dir: t.TempDir(), Name: "app.log", Burst: 10, Rotate: 30, Numbers: true}
	stop, done := make(chan struct{}), make(chan error)
	go func() { done <- w.Run(stop) }() // ends by stop
	for end := time.Now().Add(10 * time.Second); w.Files() < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not rotate")
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	next := 0
	for n := w.Files() - 1; n >= 0; n-- {
		path := w.path()
		if n > 0 {
			path = fmt.Sprintf("%s.%d", path, n)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			if src, seq, err := Parse(bytes.TrimSuffix(line, []byte("\n"))); err != nil || src != 0 || seq != next {
				t.Fatalf("%s: %q; want line %d", path, line, next)
			}
			next++
		}
	}
	if next != w.Written()[0] {
		t.Errorf("%d lines in the files, %d written", next, w.Written()[0])
	}
}
