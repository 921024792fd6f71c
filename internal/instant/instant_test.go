package instant

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestReadAt: parts are filled as by one read, wherever they begin and the file ends.
func TestReadAt(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789"), 20_000) // more than is read at once
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, offset := range []int64{0, 7, int64(len(text)) - 5, int64(len(text)), int64(len(text)) + 3} {
		for _, sizes := range [][]int{{}, {0}, {1}, {3, 0, 4}, {4, 2}, {5, 1}, {1, 2, 3, 4, 5, 6}, {4096, 16 << 10}, {100_000, 50_000}} {
			var parts [][]byte
			size := 0
			for _, n := range sizes {
				parts = append(parts, make([]byte, n))
				size += n
			}
			want := text[min(int(offset), len(text)):]
			want = want[:min(size, len(want))]
			n, err := ReadAt(f, offset, parts...)
			if got := bytes.Join(parts, nil)[:n]; !bytes.Equal(got, want) {
				t.Errorf("%v at %d: %d bytes, want %d", sizes, offset, n, len(want))
			}
			if n < size && err != io.EOF || n == size && err != nil {
				t.Errorf("%v at %d: %d bytes, %v", sizes, offset, n, err)
			}
		}
	}
	f.Close()
	if n, err := ReadAt(f, 0, make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed file: %d bytes, %v", n, err)
	}
}

// TestConn: what is written arrives, also where the other side is slow and where it is too much for one call; a
// deadline, the end and a reset are those of package net.
func TestConn(t *testing.T) {
	near, far := pair(t)
	var want []byte
	sent := make(chan error, 1)
	for n := 1; n <= most+1; n *= 2 {
		want = append(want, bytes.Repeat([]byte{byte(n), 'x'}, n)...)
	}
	want = append(want, bytes.Repeat(want, 40)...)
	go func() { // ends with the text
		rest := want
		for n := 1; len(rest) > 0; n = 2*n%(4*most) + 1 {
			n = min(n, len(rest))
			if _, err := near.Write(rest[:n]); err != nil {
				sent <- err
				return
			}
			rest = rest[n:]
		}
		sent <- nil
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("other bytes arrived, or %v", err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	near.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := near.Read(got); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %d bytes, %v", n, err)
	}
	near.SetReadDeadline(time.Time{})
	far.Close()
	if n, err := near.Read(got); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	near.Close()
	if n, err := near.Read(got); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %d bytes, %v", n, err)
	}
	if _, err := near.Write(got[:1]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// pair returns both ends of a connection, as Conn returns them.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return Conn(near), Conn(far)
}
