package archive

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// deflated returns text as the library compresses it.
func deflated(t testing.TB, text []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// texts are of all kinds: random bytes, words, repeats at each distance, all the same.
func texts(rnd *rand.Rand) (list [][]byte) {
	for range 60 {
		n := rnd.IntN(1 << (4 + rnd.IntN(14)))
		text := make([]byte, 0, n+300)
		letters, far := 1+rnd.IntN(256), 1+rnd.IntN(40000)
		for len(text) < n {
			switch length := rnd.IntN(300); {
			case rnd.IntN(3) == 0 && len(text) > 0:
				from := len(text) - 1 - rnd.IntN(min(far, len(text)))
				for i := range length {
					text = append(text, text[from+i])
				}
			default:
				for range length / 8 {
					text = append(text, byte(rnd.IntN(letters)))
				}
			}
		}
		list = append(list, text)
	}
	return append(list, nil, []byte("x"), []byte(strings.Repeat("x", 100_000)))
}

// TestInflate: what the library compresses at any level is decompressed, and nothing that was cut
// off is.
func TestInflate(t *testing.T) {
	f := new(inflater)
	for i, text := range texts(rand.New(rand.NewPCG(7, 8))) {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 6, 9} {
			in := deflated(t, text, level)
			got := make([]byte, len(text))
			n, err := f.inflate(got, append(in, "more"...))
			if err != nil || n != len(in) || !bytes.Equal(got, text) {
				t.Fatalf("text %d, level %d: %d of %d bytes taken, %v", i, level, n, len(in), err)
			}
			if _, err := f.inflate(got, in[:len(in)-1]); err == nil {
				t.Errorf("text %d, level %d: cut off, and decompressed", i, level)
			}
			if _, err := f.inflate(make([]byte, len(text)+1), in); err == nil {
				t.Errorf("text %d, level %d: it is shorter than expected, and that is no error", i, level)
			}
		}
	}
}

// FuzzInflate: whatever the bytes are, the result is the library's, or an error where it has one.
func FuzzInflate(f *testing.F) {
	f.Add(deflated(f, []byte("hello hello hello hello"), 9), 23)
	f.Add(deflated(f, []byte(strings.Repeat("abcdefgh ijkl", 300)), 1), 3900)
	f.Add(deflated(f, bytes.Repeat([]byte{1, 2, 3, 0xff}, 50), flate.NoCompression), 200)
	own := new(inflater)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 0 || size > 1<<16 {
			return
		}
		got := make([]byte, size)
		_, err := own.inflate(got, in)
		want := make([]byte, size+1)
		n, werr := io.ReadFull(flate.NewReader(bytes.NewReader(in)), want)
		if err == nil && (!bytes.Equal(got, want[:size]) || n < size) {
			t.Errorf("%x: %x, the library has %x, %v", in, got, want[:n], werr)
		}
	})
}

// BenchmarkInflate compares the library with our own.
func BenchmarkInflate(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	words := strings.Fields("GET POST /index.html /api/v1/orders status=200 status=404 upstream timeout connection reset by peer")
	var text []byte
	for i := 0; len(text) < memberText; i++ {
		text = fmt.Appendf(text, "2026-11-22T17:00:%02d.%06dZ web-%d nginx: id=%08x", i/1000%60, i, rnd.IntN(20), rnd.Uint32())
		for range 8 {
			text = append(append(text, ' '), words[rnd.IntN(len(words))]...)
		}
		text = append(text, '\n')
	}
	in := deflated(b, text, 1)
	b.Run("own", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		f, got := new(inflater), make([]byte, len(text))
		for b.Loop() {
			if _, err := f.inflate(got, in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		r, got := flate.NewReader(nil), make([]byte, len(text))
		for b.Loop() {
			r.(flate.Resetter).Reset(bytes.NewReader(in), nil)
			if _, err := io.ReadFull(r, got); err != nil {
				b.Fatal(err)
			}
		}
	})
}
