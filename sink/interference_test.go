package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// TestInterference: whatever another process does to the live file, no line is
// lost but those that were destroyed, and the log goes on by itself.
func TestInterference(t *testing.T) {
	f := func(name string, interfere func(path string) error, keeps bool) {
		t.Run(name, func(t *testing.T) {
			s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
			src := newSource()
			src.send(t, s, "one", "two")
			expectLines(t, s, "one", "two")
			expectPublished(t, s) // before that, lines of a deleted file are committed again
			if err := interfere(s.Path); err != nil {
				t.Fatal(err)
			}
			src.send(t, s, "three")
			src.send(t, s, "four")
			want := []string{"three", "four"}
			if keeps {
				want = []string{"one", "two", "three", "four"}
			}
			expectLines(t, s, want...)
			if n := s.counts.interference.Load(); n != 1 {
				t.Errorf("counted %d interferences, want 1", n)
			}
			live, _ := os.ReadFile(s.Path)
			if !strings.Contains(string(live), "four") || !strings.Contains(logText(t, s), " here fanin: INTERFERENCE ") {
				t.Errorf("the log does not say what happened:\n%s", logText(t, s))
			}
		})
	}
	f("deleted", os.Remove, false)
	f("moved", func(path string) error { return os.Rename(path, path+".old") }, true)
	f("truncated", func(path string) error { return os.Truncate(path, 0) }, false)
	f("appended", func(path string) error {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("foreign line\n")
			f.Close()
		}
		return err
	}, true)
	f("replaced", func(path string) error {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
		return os.WriteFile(path, []byte("another process's\n"), 0o640)
	}, true)
}

// TestInterferenceWhileIdle: it is noticed without a line arriving.
func TestInterferenceWhileIdle(t *testing.T) {
	s := open(t, &Sink{})
	newSource().send(t, s, "one")
	if err := os.Rename(s.Path, s.Path+".1"); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "a new file", func() bool { _, err := os.Stat(s.Path); return err == nil })
}

// TestInterferenceWhileDown: the same, done to a log that no process has open, with
// and without frames that are not in the file yet.
func TestInterferenceWhileDown(t *testing.T) {
	for _, c := range []struct {
		name      string
		interfere func(path string) error
		want      string // of "one two three", where three is in the write-ahead log only
	}{
		{"nothing", func(string) error { return nil }, "one two three"},
		{"deleted", os.Remove, "three"},
		{"moved", func(p string) error { return os.Rename(p, p+".1") }, "one two three"},
		{"truncated", func(p string) error { return os.Truncate(p, 3) }, "three"},
		{"appended", func(p string) error {
			b, err := os.ReadFile(p)
			if err == nil {
				err = os.WriteFile(p, append(b, "foreign\n"...), 0o640)
			}
			return err
		}, "one two three"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}}
			src := newSource()
			crashBeforeFile(t, s, src)
			if err := c.interfere(s.Path); err != nil {
				t.Fatal(err)
			}
			s = open(t, &Sink{Path: s.Path, env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}})
			if got := strings.Join(bodies(t, s), " "); got != c.want && !strings.HasSuffix(got, c.want) {
				t.Errorf("the log holds %q, want %q", got, c.want)
			}
			src.opened = true
			src.send(t, s, "four")
			waittest.Until(t, "the next line", func() bool { return strings.HasSuffix(strings.Join(bodies(t, s), " "), "four") })
		})
	}
}

// crashBeforeFile commits one and two with a checkpoint behind them, then three,
// and stops before three is appended to the file.
func crashBeforeFile(t *testing.T, s *Sink, src *source) {
	t.Helper()
	var stop atomic.Bool
	s.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if stop.Load() && op == disk.OpWrite && path == s.Path {
			return 0, errCrash
		}
		return 0, nil
	}}
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	src.send(t, s, "one", "two")
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	stop.Store(true)
	src.send(t, s, "three")
	<-s.Failed()
	s.Close(context.Background())
}

// TestBackupNameExists: a clock that was set back meets names of the future. Here all
// names of the next moments are taken, by files or by archives, so that a rotation
// which looks at none of them meets one for certain.
func TestBackupNameExists(t *testing.T) {
	for _, suffix := range []string{"", ".gz"} {
		s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
		src := newSource()
		src.send(t, s, "one")
		m := mover{path: s.Path}
		taken := make(map[string]bool)
		older := filepath.Join(t.TempDir(), "older")
		must(t, os.WriteFile(older, []byte("older\n"), 0o640))
		for at := time.Now(); time.Until(at) < 300*time.Millisecond; at = at.Add(time.Millisecond) {
			name := m.backup(at) + suffix
			must(t, os.Link(older, name))
			taken[name] = true
		}
		r, err := s.Rotate(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Join(filepath.Dir(s.Path), r.Name) + suffix; taken[name] {
			t.Errorf("%s was there before", name)
		}
		for name := range taken {
			if b, err := os.ReadFile(name); err != nil || string(b) != "older\n" {
				t.Fatalf("%s was overwritten: %q, %v", name, b, err)
			}
		}
		expectLines(t, s, "one")
	}
}

func TestRotationImpossible(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for chattr")
	}
	dir := t.TempDir()
	s := open(t, &Sink{Path: filepath.Join(dir, "all.log"), State: t.TempDir(), Rotation: RotationPolicy{Size: 200}, Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	if out, err := exec.Command("chattr", "+a", dir).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v: %s", err, out)
	}
	defer exec.Command("chattr", "-a", dir).Run()
	var want = []string{"one"}
	for i := range 20 {
		line := fmt.Sprint("line ", i)
		src.send(t, s, line)
		want = append(want, line)
	}
	expectLines(t, s, want...)
	if n := len(s.Status().Generations); n != 1 {
		t.Fatalf("%d generations in a directory where nothing can be renamed", n)
	}
	exec.Command("chattr", "-a", dir).Run()
	if _, err := s.Rotate(context.Background()); err != nil {
		t.Fatal(err)
	}
	src.send(t, s, "last")
	expectLines(t, s, append(want, "last")...)
}

// TestNoDescriptors: with none left, rotation loses nothing and goes on later.
func TestNoDescriptors(t *testing.T) {
	s := open(t, &Sink{Rotation: RotationPolicy{Size: 300}, Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	want := []string{"one"}
	var held []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		held = append(held, f)
		if len(held) == 1 {
			lowerFileLimit(t, int(f.Fd())+40)
		}
	}
	for i := range 20 {
		line := fmt.Sprint("line ", i)
		src.send(t, s, line)
		want = append(want, line)
	}
	for _, f := range held {
		f.Close()
	}
	src.send(t, s, "last")
	expectLines(t, s, append(want, "last")...)
	waittest.Until(t, "a rotation", func() bool {
		s.Rotate(context.Background())
		return s.counts.rotations.bySize.Load() > 0 || s.counts.rotations.byDemand.Load() > 0
	})
}

func lowerFileLimit(t *testing.T, n int) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = uint64(n)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
}

// TestDiskFull: without room nothing is taken and nothing acknowledged; what was
// committed gets into the file as soon as there is room, once.
func TestDiskFull(t *testing.T) {
	for _, op := range []disk.Op{disk.OpGrow, disk.OpWrite} {
		var full atomic.Bool
		path := filepath.Join(t.TempDir(), "all.log")
		s := open(t, &Sink{Path: path, Disk: &disk.Disk{Fault: func(o disk.Op, p string) (int, error) {
			if full.Load() && p == path && (o == op || o == disk.OpGrow) {
				return 7, syscall.ENOSPC
			}
			return 0, nil
		}}})
		src := newSource()
		src.send(t, s, "one")
		expectLines(t, s, "one") // it is on its way into the file when it is acknowledged
		full.Store(true)
		s.do(context.Background(), func(w *writer) error { w.file.reserved = 0; return nil })
		if op == disk.OpWrite { // the reservation holds for the next group, the write fails half-way
			s.do(context.Background(), func(w *writer) error { w.file.reserved = 1 << 30; return nil })
		}
		done := make(chan error, 1)
		b := src.batch("two")
		go func() { done <- s.Append(context.Background(), b) }() // ends when there is room
		waittest.Until(t, "trouble", func() bool { st := s.Status(); return !st.Healthy && strings.Contains(st.Trouble, "no room") })
		if op == disk.OpGrow {
			select {
			case err := <-done:
				t.Fatalf("acknowledged without room: %v", err)
			default:
			}
		}
		full.Store(false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		expectLines(t, s, "one", "two")
		waittest.Until(t, "health", func() bool { return s.Status().Healthy })
		waittest.Until(t, "a notice", func() bool { return strings.Contains(logText(t, s), "fanin: RESUMED") })
	}
}

// TestDiskFullAtStart: a start that waits for room ends when it is told to.
func TestDiskFullAtStart(t *testing.T) {
	s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), env: environment{walSize: 1 << 20}}
	crashBeforeFile(t, s, newSource())
	waits := make(chan struct{})
	var once sync.Once
	full := &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpWrite && path == s.Path {
			once.Do(func() { close(waits) })
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}}
	ctx, stop := context.WithCancel(context.Background())
	opened := make(chan error, 1)
	again := &Sink{Path: s.Path, env: environment{walSize: 1 << 20}, Disk: full}
	go func() { opened <- again.Open(ctx) }() // ends by stop
	<-waits
	stop()
	select {
	case err := <-opened:
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on waiting")
	}
	open(t, &Sink{Path: s.Path, env: environment{walSize: 1 << 20}}) // its locks are free
}

// TestFailedSyncIsFinal: no caller is told anything after it, and the next start
// puts everything right.
func TestFailedSyncIsFinal(t *testing.T) {
	var bad atomic.Bool
	path := filepath.Join(t.TempDir(), "all.log")
	s := &Sink{Path: path, env: environment{walSize: 1 << 20}, Disk: &disk.Disk{Fault: func(op disk.Op, p string) (int, error) {
		if bad.Load() && op == disk.OpSync && filepath.Base(p) == walName {
			return 0, syscall.EIO
		}
		return 0, nil
	}}}
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	src := newSource()
	src.send(t, s, "one")
	bad.Store(true)
	b := src.batch("two")
	if err := s.Append(context.Background(), b); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want the disk's error", err)
	}
	<-s.Failed()
	bad.Store(false)
	if err := s.Append(context.Background(), b); err == nil {
		t.Fatal("acknowledged after a failed sync")
	}
	s.Close(context.Background())
	s = open(t, &Sink{Path: path, env: environment{walSize: 1 << 20}})
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	expectLines(t, s, "one", "two")
}

func TestLocks(t *testing.T) {
	s := open(t, &Sink{})
	for _, other := range []*Sink{{Path: s.Path}, {Path: s.Path, State: t.TempDir()}, {Path: filepath.Join(t.TempDir(), "x.log"), State: s.State}} {
		if err := other.Open(context.Background()); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("a second collector on %s, %s: %v", other.Path, other.State, err)
		}
	}
}

// TestStateLost: without its state the log is kept, agents are told that the
// incarnation changed, and nothing is overwritten.
func TestStateLost(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	s.Rotate(context.Background())
	src.send(t, s, "two")
	before := welcomed(s, "a")
	s.Close(context.Background())
	if err := os.RemoveAll(s.State); err != nil {
		t.Fatal(err)
	}
	s = open(t, &Sink{Path: s.Path, Retention: RetentionPolicy{Compress: "none"}})
	after := welcomed(s, "a")
	if after.Log == before.Log || after.Incarnation == before.Incarnation || len(after.Streams) != 0 {
		t.Errorf("welcome was %+v and is %+v", before, after)
	}
	expectLines(t, s, "one", "two")
	waittest.Until(t, "a notice", func() bool { return strings.Contains(logText(t, s), "fanin: FOUND") })
}

// TestStateRestored: a state older than the log is believed no longer, and what
// is in the log stays there once.
func TestStateRestored(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
		src := newSource()
		src.send(t, s, "one")
		s.Close(context.Background())
		old := t.TempDir()
		if out, err := exec.Command("cp", "-a", s.State+"/.", old).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s = open(t, &Sink{Path: s.Path, Retention: RetentionPolicy{Compress: "none"}})
		src.send(t, s, "two")
		if rotated {
			s.Rotate(context.Background())
			src.send(t, s, "three")
		}
		before := welcomed(s, "a")
		s.Close(context.Background())
		os.RemoveAll(s.State)
		os.Rename(old, s.State)
		s = open(t, &Sink{Path: s.Path, Retention: RetentionPolicy{Compress: "none"}})
		after := welcomed(s, "a")
		if after.Log != before.Log || after.Incarnation == before.Incarnation {
			t.Errorf("rotated %v: the incarnation is the same", rotated)
		}
		want := []string{"one", "two"}
		if rotated {
			want = append(want, "three")
		}
		expectLines(t, s, want...)
	}
}

// TestReboot: in mode none, what was not synced before a reboot is not believed.
func TestReboot(t *testing.T) {
	s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), Sync: syncNone, Retention: RetentionPolicy{Compress: "none"}, env: environment{walSize: 1 << 20}}
	src := newSource()
	crashBeforeFile(t, s, src)
	sl, err := readCheckpoint(s.State)
	if err != nil {
		t.Fatal(err)
	}
	sl.Boot, sl.Seq = "another", sl.Seq+1
	b, _ := sl.encode()
	f, _ := os.OpenFile(filepath.Join(s.State, checkpointName), os.O_RDWR, 0)
	f.WriteAt(b, int64(sl.Seq%2)*blockSize)
	f.Close()
	s = open(t, &Sink{Path: s.Path, Sync: syncNone, Retention: RetentionPolicy{Compress: "none"}, env: environment{walSize: 1 << 20}})
	expectLines(t, s, "one", "two")
	waittest.Until(t, "a notice", func() bool { return strings.Contains(logText(t, s), "fanin: REBOOTED") })
	if w := welcomed(s, "a"); w.Incarnation.String() == sl.LogIncarnation {
		t.Error("the incarnation is the same")
	}
}

// TestDamage flips each byte of the state, one at a time. Either the log opens
// and holds every line, or it refuses and names the place; never less.
func TestDamage(t *testing.T) {
	base := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), env: environment{walSize: 64 << 10}, Retention: RetentionPolicy{Compress: "none"}}
	src := newSource()
	crashBeforeFile(t, base, src)
	refused := 0
	for _, name := range []string{walName, checkpointName, "table-1", "table-2"} {
		whole, err := os.ReadFile(filepath.Join(base.State, name))
		if err != nil {
			continue
		}
		for at := 0; at < len(whole) && at < 12<<10; at += 61 {
			if whole[at] == 0 && at > 600 {
				continue
			}
			dir := t.TempDir()
			exec.Command("cp", "-a", filepath.Dir(base.Path)+"/.", dir).Run()
			path := filepath.Join(dir, "all.log")
			// The copy's file is another inode; the state must name it.
			damaged := append([]byte(nil), whole...)
			damaged[at] ^= 0x5a
			os.WriteFile(filepath.Join(StateDir(path), name), damaged, 0o640)
			s := &Sink{Path: path, env: environment{walSize: 64 << 10}, Retention: RetentionPolicy{Compress: "none"}}
			err := s.Open(context.Background())
			var d *DamagedError
			if errors.As(err, &d) {
				refused++
				if d.Path == "" || !strings.Contains(err.Error(), "repair") {
					t.Errorf("%s byte %d: %v names no place or remedy", name, at, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s byte %d: %v", name, at, err)
				continue
			}
			got := strings.Join(bodies(t, s), " ")
			if !strings.HasPrefix(got, "one two") {
				t.Errorf("%s byte %d: the log holds %q", name, at, got)
			}
			s.Close(context.Background())
		}
	}
	if refused == 0 {
		t.Error("no damage was ever refused")
	}
}

func TestManyStreamsCheckpointDeltas(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	var wait []chan error
	for range 200 {
		c := make(chan error, 1)
		wait = append(wait, c)
		go func() { c <- newSource().open(s) }() // ends with its answer
	}
	for _, c := range wait {
		if err := <-c; err != nil {
			t.Fatal(err)
		}
	}
	s.Checkpoint(context.Background())
	sl, _ := readCheckpoint(s.State)
	size := sl.CatalogLogSize
	newSource().send(t, s, "one")
	s.Checkpoint(context.Background())
	if sl, _ = readCheckpoint(s.State); sl.CatalogLogSize > size+500 {
		t.Errorf("one changed stream of 200 cost %d bytes", sl.CatalogLogSize-size)
	}
	if w := welcomed(s, "a"); len(w.Streams) != 201 {
		t.Errorf("%d streams, want 201", len(w.Streams))
	}
}
