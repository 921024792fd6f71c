package relay

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

// A log is put back to an older state, and goes on with other lines. Answers that are lost double none of
// them, and the upstream forgets the later generations that are no more.
func TestOlderState(t *testing.T) {
	keep := sink.RetentionPolicy{Compress: "none"}
	edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
	edge.number(0, 100)
	edge.connect(up, &link{})
	edge.has(up, 0, 100)
	snapshot := t.TempDir()
	edge = edge.restart(func(dir string) { copyTo(t, snapshot, dir) })
	edge.number(100, 200)
	edge.rotate()
	edge.number(200, 300)
	edge.connect(up, &link{})
	edge.has(up, 0, 300)
	edge = edge.restart(func(dir string) {
		files, _ := filepath.Glob(filepath.Join(dir, "all-*.log"))
		text, err := os.ReadFile(filepath.Join(snapshot, "all.log"))
		err = errors.Join(err, os.Rename(files[0], filepath.Join(dir, "all.log")), // it is the same file
			os.WriteFile(filepath.Join(dir, "all.log"), text, 0o600), os.RemoveAll(filepath.Join(dir, "state")))
		if err != nil {
			t.Fatal(err)
		}
		copyTo(t, filepath.Join(dir, "state"), filepath.Join(snapshot, "state"))
	})
	edge.number(300, 400)
	edge.connect(up, &link{lost: 2})
	edge.has(up, 0, 400)
	edge.number(400, 500)
	edge.has(up, 0, 500)
	edge.rotate()
	edge.number(500, 600)
	edge.has(up, 0, 600)
	waittest.UntilEqual(t, "other generations to end", 1, func() int { return len(up.welcome().Streams) })
	if n := edge.down.counts.doubted.Load(); n != 1 {
		t.Errorf("doubted %d times, want once", n)
	}
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	os.Remove(to)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// A generation of which the upstream has nothing proves nothing, while it has something of another.
func TestKnown(t *testing.T) {
	u := upstream{streams: map[uint64]wire.Watermark{}}
	for generation, offset := range map[uint64]int64{3: 7, 4: 10, 5: 0, 6: 0} {
		u.streams[generation] = wire.Watermark{Epoch: 1, Point: wire.Point{Offset: offset}}
	}
	for i, want := range []uint64{4, 3, 6, 5} {
		if got := u.known()[i].generation; got != want {
			t.Errorf("generation %d is at %d, want %d", got, i, want)
		}
	}
}
