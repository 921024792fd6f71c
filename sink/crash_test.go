package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

var errCrash = errors.New("the machine stopped")

// crashAt is a disk that stops for good at its n-th access, which lets part of a
// write through.
func crashAt(n int64, part int) (*disk.Disk, *atomic.Int64) {
	var count atomic.Int64
	return &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if c := count.Add(1); c < n {
			return 0, nil
		} else if c == n {
			return part, errCrash
		}
		return 0, errCrash
	}}, &count
}

// workload appends lines, rotating now and then, until the log fails. It
// returns what was acknowledged.
func workload(s *Sink, src *source, rounds int) (acked []string) {
	ctx := context.Background()
	if s.Open(ctx) != nil {
		return nil
	}
	defer s.Close(ctx)
	if src.epoch == 1 && len(src.text) == 0 && src.open(s) != nil {
		return nil
	}
	for i := range rounds {
		before := *src
		line := fmt.Sprintf("line %d at %d %s", i, len(src.text), strings.Repeat("x", i%7*100))
		if s.Append(ctx, src.batch(line)) != nil {
			src.text = before.text // not known whether it was kept
			return acked
		}
		acked = append(acked, line)
		if i%10 == 9 {
			s.Rotate(ctx)
		}
	}
	return acked
}

// resume sets the source back to where the log says it stands, as an agent does.
func (src *source) resume(t *testing.T, s *Sink, sent []byte) {
	t.Helper()
	w := welcomed(s, "a")
	if len(w.Streams) == 0 {
		src.text, src.opened = nil, false
		return
	}
	at := w.Streams[0].Offset
	if at > int64(len(sent)) || wire.TailHash(sent[:at]) != w.Streams[0].Tail {
		t.Fatalf("the log stands at %d of %d bytes that were ever sent", at, len(sent))
	}
	src.text, src.opened = sent[:at:at], true
}

// TestCrashAtEveryAccess stops the machine at each single access to the disk, in
// both modes, and once more during the recovery from that. What was acknowledged
// is in the log exactly once, in order, each time.
func TestCrashAtEveryAccess(t *testing.T) {
	step := int64(1)
	if testing.Short() {
		step = 7
	}
	for _, mode := range []string{syncCommit, syncNone} {
		for _, part := range []int{0, 1, 4096} {
			ended := false
			for n := int64(1); !ended; n += step {
				ended = crashOnce(t, mode, n, part)
			}
		}
	}
}

func crashOnce(t *testing.T, mode string, n int64, part int) (ended bool) {
	path := filepath.Join(t.TempDir(), "all.log")
	src := newSource()
	d, count := crashAt(n, part)
	make := func(d *disk.Disk) *Sink {
		return &Sink{Path: path, Sync: mode, Disk: d, walSize: 1 << 20, Compress: "none", Host: "here"}
	}
	acked := workload(make(d), src, 25)
	ended = count.Load() < n
	sent := append(src.text[:len(src.text):len(src.text)], []byte(fmt.Sprintf("line %d at %d %s\n", len(acked), len(src.text), strings.Repeat("x", len(acked)%7*100)))...)
	d, _ = crashAt(n%11+1, part)
	if s := make(d); s.Open(context.Background()) == nil {
		s.Close(context.Background())
	}
	s := make(nil)
	if err := s.Open(context.Background()); err != nil {
		t.Fatalf("mode %s, crash at %d: %v", mode, n, err)
	}
	src.resume(t, s, sent)
	if len(acked) > 0 && len(src.text) < len(strings.Join(acked, "\n")) {
		t.Fatalf("mode %s, crash at %d: the log stands at %d and acknowledged more", mode, n, len(src.text))
	}
	if !src.opened {
		src.open(s)
	}
	if err := s.Append(context.Background(), src.batch("the end")); err != nil {
		t.Fatalf("mode %s, crash at %d: append after recovery: %v", mode, n, err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(bodies(t, s), "\n") + "\n"; got != string(src.text) {
		t.Fatalf("mode %s, crash at %d (part %d): the log holds\n%s\nwant\n%s", mode, n, part, got, src.text)
	}
	r, err := Verify(context.Background(), path, "")
	if err != nil || !r.OK() {
		t.Fatalf("mode %s, crash at %d: verify: %v %q", mode, n, err, r.Problems)
	}
	os.RemoveAll(filepath.Dir(path))
	return ended
}
