package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"fanin/internal/wire"
)

// openTest opens a new file with this text.
func openTest(t testing.TB, text []byte) *file {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, text, 0o640); err != nil {
		t.Fatal(err)
	}
	f, err := newDescriptors(4, slog.New(slog.DiscardHandler), new(atomic.Uint64)).openFile(path)
	if err == nil {
		err = f.f.hold(context.Background(), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// TestUnreadableGrowth: a file whose next bytes cannot be read counts as grown, so that they are read, and the
// error is reported.
func TestUnreadableGrowth(t *testing.T) {
	f := openTest(t, nil)
	dir, err := os.Open(t.TempDir()) // what is in it cannot be read
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := os.WriteFile(filepath.Join(dir.Name(), "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func(was *os.File) { f.f.file = was }(f.f.file)
	f.f.file = dir
	if size, still := f.sizeBehind(cursor{}, 0); size == 0 || !still {
		t.Errorf("size %d, still %v", size, still)
	}
	var failed *fileError
	if _, err := f.readBatch(cursor{}, make([]byte, 8<<10), limits{line: 1 << 10, block: 8 << 10}, false, -1); !errors.As(err, &failed) {
		t.Errorf("read: %v", err)
	}
}

// BenchmarkReadBatch reads a file of 16 MiB from its start to its end, in blocks of
// the usual size.
func BenchmarkReadBatch(b *testing.B) {
	for _, length := range []int{0, 20, 150, 2000} {
		b.Run(fmt.Sprintf("lines of %d bytes", length), func(b *testing.B) {
			text := bytes.Repeat([]byte(strings.Repeat("x", length)+"\n"), (16<<20)/(length+1))
			f := openTest(b, text)
			block := make([]byte, 1<<20+4<<10)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var c cursor
				for c.Offset < int64(len(text)) {
					r, err := f.readBatch(c, block, limits{line: wire.MaxLine, block: len(block)}, false, -1)
					if err != nil || r.text == nil {
						b.Fatalf("at %d: %v", c.Offset, err)
					}
					c = r.to
				}
			}
		})
	}
}
