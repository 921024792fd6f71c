package sink

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// TestStateDeleted: whatever becomes of the state directory while the collector
// runs, nothing is acknowledged that a restart would not know, and the log goes on by
// itself with all watermarks, in both modes.
func TestStateDeleted(t *testing.T) {
	all := map[string]func(s *Sink) error{
		"deleted":    func(s *Sink) error { return os.RemoveAll(s.State) },
		"moved":      func(s *Sink) error { return os.Rename(s.State, s.State+".old") },
		"emptied":    func(s *Sink) error { return errors.Join(os.RemoveAll(s.State), os.Mkdir(s.State, 0o700)) },
		"wal":        func(s *Sink) error { return os.Remove(filepath.Join(s.State, walName)) },
		"checkpoint": func(s *Sink) error { return os.Remove(filepath.Join(s.State, checkpointName)) },
		"with rotation": func(s *Sink) error {
			return errors.Join(os.RemoveAll(s.State), s.do(context.Background(), func(w *writer) error { return w.rotate("test") }))
		},
		"log as well": func(s *Sink) error { return errors.Join(os.Remove(s.Path), os.RemoveAll(s.State)) },
	}
	for name, interfere := range all {
		for _, mode := range []string{syncCommit, syncNone} {
			t.Run(name+" "+mode, func(t *testing.T) {
				s := open(t, &Sink{Sync: mode, Retention: RetentionPolicy{Compress: "none"}, env: environment{walSize: 1 << 20}})
				src := newSource()
				src.send(t, s, "one")
				src.send(t, s, "two")
				expectLines(t, s, "one", "two")
				expectPublished(t, s) // before that, lines of a deleted file are committed again
				must(t, interfere(s))
				if name == "checkpoint" { // which only a look at the whole directory shows
					waittest.Until(t, "a new state", func() bool { return s.counts.interference.Load() > 0 })
				}
				src.send(t, s, "three")
				before := welcomed(s, "a")
				// The next process has what is in the directory now, as after kill -9.
				copied := copyState(t, s)
				if got, err := readCheckpoint(copied); err != nil || got == nil || got.Log != before.Log.String() {
					t.Fatalf("after an ack, a new start finds the checkpoint %+v, %v", got, err)
				}
				waittest.Until(t, "health", func() bool { return s.Status().Healthy })
				src.send(t, s, "four")
				want := []string{"one", "two", "three", "four"}
				if name == "log as well" {
					want = want[2:]
				}
				expectLines(t, s, want...)
				if n := s.counts.interference.Load(); n == 0 || !strings.Contains(logText(t, s), "INTERFERENCE state=") {
					t.Errorf("%d interferences, and the log says\n%s", n, logText(t, s))
				}
				must(t, s.Close(context.Background()))
				r, err := Verify(context.Background(), s.Path, "")
				if err != nil || !r.OK() {
					t.Errorf("verify: %v %q", err, r.Problems)
				}
				s = open(t, &Sink{Path: s.Path, Sync: mode, Retention: RetentionPolicy{Compress: "none"}, env: environment{walSize: 1 << 20}})
				after := welcomed(s, "a")
				if after.Log != before.Log || after.Incarnation != before.Incarnation || after.Streams[0].Offset != int64(len(src.text)) {
					t.Errorf("the log was %+v and is %+v", before, after)
				}
				src.send(t, s, "five")
				expectLines(t, s, append(want, "five")...)
			})
		}
	}
}

// TestStateDeletedInRotation: a rotation that finds the state gone has begun a file
// already when it is made again, and leaves it at that.
func TestStateDeletedInRotation(t *testing.T) {
	var gone atomic.Bool
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}, env: environment{walSize: 1 << 20}, Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpWrite && strings.Contains(path, "ledger-") && gone.CompareAndSwap(true, false) {
			return 0, syscall.ENOENT
		}
		return 0, nil
	}}})
	src := newSource()
	src.send(t, s, "one")
	must(t, s.do(context.Background(), func(w *writer) error {
		if err := os.RemoveAll(s.State); err != nil {
			return err
		}
		gone.Store(true)
		return w.rotate("test")
	}))
	src.send(t, s, "two")
	expectLines(t, s, "one", "two")
	if n := len(s.Status().Generations); n != 2 || gone.Load() {
		t.Errorf("%d generations", n)
	}
}

func copyState(t *testing.T, s *Sink) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{walName, checkpointName} {
		b, err := os.ReadFile(filepath.Join(s.State, name))
		must(t, err, os.WriteFile(filepath.Join(to, name), b, 0o600))
	}
	return to
}

// TestStateDeletedWhileIdle: it is noticed without a line arriving.
func TestStateDeletedWhileIdle(t *testing.T) {
	s := open(t, &Sink{env: environment{walSize: 1 << 20}})
	must(t, os.RemoveAll(s.State))
	waittest.Until(t, "the state", func() bool {
		sl, err := readCheckpoint(s.State)
		return err == nil && sl != nil && exists(filepath.Join(s.State, walName))
	})
	if err := (&Sink{Path: filepath.Join(t.TempDir(), "x.log"), State: s.State}).Open(context.Background()); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("the new state is not locked: %v", err)
	}
}

// TestStateCannotBeMade: no line is acknowledged until it can.
func TestStateCannotBeMade(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "parent")
	must(t, os.Mkdir(parent, 0o700))
	s := open(t, &Sink{State: filepath.Join(parent, "state"), env: environment{walSize: 1 << 20}})
	src := newSource()
	src.send(t, s, "one")
	must(t, os.RemoveAll(parent))
	b := src.batch("two")
	done := make(chan error, 1)
	go func() { done <- s.Append(context.Background(), b) }() // ends when there is a state again
	waittest.Until(t, "trouble", func() bool {
		st := s.Status()
		return !st.Healthy && strings.Contains(st.Trouble, "no such file or directory") && !strings.Contains(st.Trouble, "descriptors")
	})
	select {
	case err := <-done:
		t.Fatalf("answered without a state: %v", err)
	default:
	}
	must(t, os.Mkdir(parent, 0o700))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	expectLines(t, s, "one", "two")
	waittest.Until(t, "health", func() bool { return s.Status().Healthy })
}

// TestStateTaken: another collector's state at the place of ours is left alone, and
// this collector ends.
func TestStateTaken(t *testing.T) {
	for _, running := range []bool{false, true} {
		s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), env: environment{walSize: 1 << 20}}
		must(t, s.Open(context.Background()))
		src := newSource()
		src.send(t, s, "one")
		other := &Sink{Path: filepath.Join(t.TempDir(), "other.log"), env: environment{walSize: 1 << 20}}
		must(t, other.Open(context.Background()))
		if !running {
			must(t, other.Close(context.Background()))
		}
		want, err := os.ReadFile(filepath.Join(other.State, checkpointName))
		must(t, err, os.RemoveAll(s.State), os.Rename(other.State, s.State))
		b := src.batch("two")
		if err := s.Append(context.Background(), b); err == nil {
			t.Fatal("acknowledged into another's state")
		}
		<-s.Failed()
		if got, err := os.ReadFile(filepath.Join(s.State, checkpointName)); err != nil || string(got) != string(want) {
			t.Errorf("running %v: another's state was changed: %v", running, err)
		}
		s.Close(context.Background())
		if running {
			other.Close(context.Background())
		}
	}
}

// TestLogDirectoryDeleted: it is waited for, with the reason, and said once.
func TestLogDirectoryDeleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	must(t, os.Mkdir(dir, 0o700))
	var reports reportCounter
	var tries atomic.Int64
	d := &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpOpen && filepath.Dir(path) == dir {
			tries.Add(1)
		}
		return 0, nil
	}}
	s := open(t, &Sink{Path: filepath.Join(dir, "all.log"), State: t.TempDir(), env: environment{walSize: 1 << 20}, Log: reports.logger(), Disk: d})
	src := newSource()
	src.send(t, s, "one")
	expectLines(t, s, "one")
	must(t, os.RemoveAll(dir))
	b := src.batch("two")
	done := make(chan error, 1)
	go func() { done <- s.Append(context.Background(), b) }() // ends when there is a directory again
	waittest.Until(t, "trouble", func() bool {
		st := s.Status()
		return !st.Healthy && strings.Contains(st.Trouble, "no such file or directory")
	})
	first := tries.Load()
	waittest.Until(t, "another try", func() bool { return tries.Load() > first }) // which is not reported
	if st := s.Status(); st.Healthy || strings.Contains(st.Trouble, "descriptors") || reports.n.Load() != 1 {
		t.Errorf("%d reports; %+v", reports.n.Load(), st.Trouble)
	}
	must(t, os.Mkdir(dir, 0o700))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	expectLines(t, s, "two")
	waittest.Until(t, "health", func() bool { return s.Status().Healthy })
	waittest.Until(t, "a notice", func() bool { return strings.Contains(logText(t, s), "INTERFERENCE file=") })
	if n := strings.Count(logText(t, s), " here fanin: "); n != 1 || !strings.Contains(logText(t, s), "no such file or directory") {
		t.Errorf("%d notices in\n%s", n, logText(t, s))
	}
}

// reportCounter counts the errors that the log reports of itself.
type reportCounter struct{ n atomic.Int64 }

func (r *reportCounter) logger() *slog.Logger { return slog.New(r) }

func (r *reportCounter) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}
func (r *reportCounter) Handle(context.Context, slog.Record) error { r.n.Add(1); return nil }
func (r *reportCounter) WithAttrs([]slog.Attr) slog.Handler        { return r }
func (r *reportCounter) WithGroup(string) slog.Handler             { return r }

// TestStateDeletedWithFullRing: a frame that waits for room when the state has to be
// made again belongs to the generation that begins with it.
func TestStateDeletedWithFullRing(t *testing.T) {
	var fail atomic.Bool
	d := &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpWrite && filepath.Base(path) == checkpointName && fail.CompareAndSwap(true, false) {
			return 0, syscall.ENOENT
		}
		return 0, nil
	}}
	s := open(t, &Sink{Disk: d, Retention: RetentionPolicy{Compress: "none"}, env: environment{walSize: 1 << 20}})
	src := newSource()
	src.send(t, s, "one")
	must(t, s.do(t.Context(), func(w *writer) error {
		if err := w.awaitCheckpoint(); err != nil {
			return err
		}
		w.wal.tail = w.wal.head - w.wal.size // as if no checkpoint had covered a ring full of frames
		fail.Store(true)
		return os.RemoveAll(s.State)
	}))
	src.send(t, s, "two")
	if g := s.End().Generation; g != 2 {
		t.Fatalf("generation %d, want 2", g)
	}
	copied := copyState(t, s)
	r := &recovery{s: &Sink{State: copied, Path: s.Path}}
	var err error
	if r.slot, err = readCheckpoint(copied); err != nil {
		t.Fatal(err)
	}
	if err := r.readFrames(); err != nil || len(r.redo) == 0 {
		t.Errorf("a new start reads %d frames: %v", len(r.redo), err)
	}
	expectLines(t, s, "one", "two")
}
