package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fanin/internal/disk"
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

// A power cut leaves nothing of the catalog, of a log that syncs nothing. Its files get other numbers, and
// the lines that the upstream does not have are found in them. If the files have lost what it has, lines
// may double, which is counted.
func TestLostCatalog(t *testing.T) {
	for _, row := range []struct {
		name    string
		torn    bool // the end of the file that was relayed
		doubted uint64
	}{{name: "whole"}, {name: "torn", torn: true, doubted: 1}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			keep := sink.RetentionPolicy{Compress: "none"}
			edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
			for i := 0; i < 300; i += 100 {
				if i > 0 {
					edge.rotate()
				}
				edge.number(i, i+100)
			}
			edge.connect(up, &link{})
			edge.has(up, 0, 300)
			edge.stop()
			edge.stop = func() {}
			edge.number(300, 400)
			edge.rotate()
			edge.number(400, 500)
			edge = edge.restart(func(dir string) {
				files, _ := filepath.Glob(filepath.Join(dir, "all-*.log"))
				slices.Sort(files)
				os.Remove(files[0])
				os.Remove(files[1])
				if row.torn {
					tear(t, files[2], "line 250\n")
				}
				loseCatalog(t, filepath.Join(dir, "state"))
			})
			edge.connect(up, &link{})
			edge.number(500, 600)
			waittest.Until(t, "the upstream to have all", func() bool { return edge.down.Status().Lag == 0 })
			if row.torn {
				waittest.Until(t, "the last line", func() bool { return strings.Contains(up.text(), "line 599\n") })
				if text := up.text(); !strings.Contains(text, "line 400\n") || edge.down.counts.doubted.Load() != row.doubted {
					t.Errorf("doubted %d times, and the upstream has\n%s", edge.down.counts.doubted.Load(), text)
				}
				return
			}
			edge.has(up, 0, 600)
			if n := edge.down.counts.doubted.Load(); n != 0 {
				t.Errorf("doubted %d times", n)
			}
		})
	}
}

// tear removes what a file has behind a line.
func tear(t *testing.T, path, line string) {
	t.Helper()
	text, err := os.ReadFile(path)
	before, _, ok := bytes.Cut(text, []byte(line))
	if err = errors.Join(err, os.Truncate(path, int64(len(before)+len(line)))); err != nil || !ok {
		t.Fatal(err, ok)
	}
}

// loseCatalog leaves of a state what a power cut may leave with sync = "none": a checkpoint of another
// boot, and a catalog that cannot be read.
func loseCatalog(t *testing.T, state string) {
	t.Helper()
	path := filepath.Join(state, "checkpoint")
	both, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	for slot := range slices.Chunk(both, 4096) {
		body := slot[12 : 12+le.Uint32(slot[8:])]
		body = regexp.MustCompile(`"boot":"[^"]*"`).ReplaceAll(body, []byte(`"boot":"another"`))
		body = bytes.Replace(body, []byte(`"clean":true`), []byte(`"clean":false`), 1)
		le.PutUint32(slot[8:], uint32(len(body)))
		end := 12 + copy(slot[12:], body)
		le.PutUint32(slot[4:], crc32.Checksum(slot[8:end], crc32.MakeTable(crc32.Castagnoli)))
	}
	tables, _ := filepath.Glob(filepath.Join(state, "table-*"))
	for _, table := range tables {
		err = errors.Join(err, os.Truncate(table, 1))
	}
	if err = errors.Join(err, os.WriteFile(path, both, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// The upstream is put back to an older state, with its files or without them. What its files have lost comes
// again, and what they still have does not.
func TestUpstreamPutBack(t *testing.T) {
	for _, files := range []bool{true, false} {
		t.Run(fmt.Sprintf("files %t", files), func(t *testing.T) {
			t.Parallel()
			keep := sink.RetentionPolicy{Compress: "none"}
			edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
			edge.number(0, 100)
			edge.connect(up, &link{})
			edge.has(up, 0, 100)
			edge.stop()
			snapshot := t.TempDir()
			up = up.restart(func(dir string) { copyTo(t, snapshot, dir) })
			edge.connect(up, &link{})
			edge.number(100, 200)
			edge.rotate()
			edge.number(200, 300)
			edge.has(up, 0, 300)
			edge.stop()
			up = up.restart(func(dir string) {
				os.RemoveAll(filepath.Join(dir, "state"))
				copyTo(t, filepath.Join(dir, "state"), filepath.Join(snapshot, "state"))
				if !files {
					return
				}
				text, err := os.ReadFile(filepath.Join(snapshot, "all.log"))
				if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "all.log"), text, 0o600)); err != nil { // it is the same file
					t.Fatal(err)
				}
			})
			edge.connect(up, &link{})
			edge.number(300, 400)
			edge.has(up, 0, 400)
		})
	}
}

// While the disk of the upstream is full, lines wait; then each of them is in its log once.
func TestUpstreamFull(t *testing.T) {
	var full atomic.Bool
	keep := sink.RetentionPolicy{Compress: "none"}
	edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep)
	up.sink.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if full.Load() && filepath.Base(path) == "all.log" { // the write-ahead log has its room already
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}}
	up.start()
	edge.connect(up, &link{})
	edge.number(0, 100)
	edge.has(up, 0, 100)
	full.Store(true)
	edge.number(100, 200)
	edge.rotate()
	edge.number(200, 300)
	waittest.Until(t, "the upstream to be full", func() bool { return !up.sink.Status().Healthy })
	if st := edge.down.Status(); st.Expired > 0 {
		t.Errorf("while the upstream is full: %+v", st)
	}
	full.Store(false)
	edge.has(up, 0, 300)
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
