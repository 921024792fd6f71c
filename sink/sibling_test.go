package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// besideArchive makes a log with lines in two files, of which the first is compressed, and a third one in which the
// last line is not yet, and ends it. It returns the lines, and the path of the first file as it was before. That file
// itself has the name of the returned path and ".kept".
func besideArchive(t *testing.T) (s *Sink, lines []string, plain string) {
	t.Helper()
	s = open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	lines = append(rotated(t, s, 2), "last")
	plain = filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name)
	if err := os.Link(plain, plain+".kept"); err != nil {
		t.Fatal(err)
	}
	s.Close(context.Background())
	var stop atomic.Bool
	s = open(t, &Sink{Path: s.Path, Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if stop.Load() && op == disk.OpWrite && filepath.Base(path) == "all.log" {
			return 0, errCrash
		}
		return 0, nil
	}}})
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip plain live" })
	waittest.Until(t, "the removal of the file beside its archive", func() bool { return !exists(plain) })
	stop.Store(true)
	newSource().send(t, s, "last")
	<-s.Failed()
	s.Close(context.Background())
	return s, lines, plain
}

// run runs a program.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// eachOnce fails unless each line is in the log once.
func eachOnce(t *testing.T, s *Sink, lines []string) {
	t.Helper()
	text := logText(t, s)
	for _, line := range lines {
		if n := strings.Count(text, " web app: "+line+"\n"); n != 1 {
			t.Errorf("%.20q is in the log %d times:\n%s", line, n, states(s))
		}
	}
}

// TestKilledBesideArchive: the collector was killed when the catalog had an archive and the file was not removed
// yet. Whatever became of the live file meanwhile, the file is not a part of the log for a second time, and does
// not count as one that a catalog is too old for.
func TestKilledBesideArchive(t *testing.T) {
	for name, happens := range map[string]func(s *Sink) error{
		"nothing": func(*Sink) error { return nil },
		"moved":   func(s *Sink) error { return os.Rename(s.Path, filepath.Join(filepath.Dir(s.Path), "elsewhere")) },
		"deleted": func(s *Sink) error { return os.Remove(s.Path) },
		"extended": func(s *Sink) error {
			f, err := os.OpenFile(s.Path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString("of others\n")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, lines, plain := besideArchive(t)
			if err := errors.Join(os.Rename(plain+".kept", plain), happens(s)); err != nil {
				t.Fatal(err)
			}
			s = open(t, &Sink{Path: s.Path})
			waittest.Until(t, "the removal of the file beside its archive", func() bool { return !exists(plain) })
			if text := logText(t, s); strings.Contains(text, "fanin: STATE ") {
				t.Errorf("the file counts as one that no generation names:\n%s", text)
			}
			eachOnce(t, s, lines)
			s.Checkpoint(context.Background())
			if r, err := Verify(context.Background(), s.Path, ""); err != nil || r.OK() != (name == "nothing" || name == "deleted") {
				t.Errorf("verify: %q, %v", r.Problems, err)
			}
		})
	}
}

// allText reads the log as those do that have a position in it.
func allText(t *testing.T, s *Sink) string {
	t.Helper()
	r := s.Reader(Position{})
	defer r.Close()
	var all strings.Builder
	for {
		text, at, err := r.Read(context.Background(), make([]byte, 4<<10))
		if err != nil {
			t.Fatalf("at %s: %v", at, err)
		}
		if len(text) == 0 {
			return all.String()
		}
		all.Write(text)
	}
}

// TestUnpackedByOthers: a file of the log that another process unpacks stays the log's: no reader misses a line,
// and nothing removes the only copy. It is packed again.
func TestUnpackedByOthers(t *testing.T) {
	s, lines, plain := besideArchive(t)
	s = open(t, &Sink{Path: s.Path})
	want := allText(t, s)
	run(t, "gunzip", plain+".gz")
	if got := allText(t, s); got != want {
		t.Errorf("a reader has\n%s\nwant\n%s", got, want)
	}
	if r, err := Verify(context.Background(), s.Path, ""); err != nil || !r.OK() {
		t.Errorf("verify: %q, %v", r.Problems, err)
	}
	s.janitor.wakeUp()
	waittest.Until(t, "it to be packed again", func() bool { return exists(plain+".gz") && !exists(plain) })
	if got := states(s); got != "gzip plain live" {
		t.Errorf("the files are %s", got)
	}
	eachOnce(t, s, lines)
}

// TestPackedByOthers: likewise, one that another process packs.
func TestPackedByOthers(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	lines := rotated(t, s, 2)
	want := allText(t, s)
	for i := range 2 {
		path := filepath.Join(filepath.Dir(s.Path), s.Status().Generations[i].Name)
		run(t, "gzip", path)
		if got := allText(t, s); got != want {
			t.Errorf("a reader has\n%s\nwant\n%s", got, want)
		}
	}
	if r, err := Verify(context.Background(), s.Path, ""); err != nil || !r.OK() {
		t.Errorf("verify: %q, %v", r.Problems, err)
	}
	s.janitor.wakeUp()
	waittest.Until(t, "the catalog to have the archives", func() bool { return states(s) == "gzip gzip live" })
	eachOnce(t, s, lines)
	run(t, "gunzip", filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name))
	s.janitor.wakeUp()
	waittest.Until(t, "the catalog to have the file", func() bool { return states(s) == "plain gzip live" })
	if got := allText(t, s); got != want {
		t.Errorf("a reader has\n%s\nwant\n%s", got, want)
	}
	path := filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name)
	run(t, "gzip", path) // and at once:
	run(t, "gunzip", path+".gz")
	if got := allText(t, s); got != want {
		t.Errorf("a reader has\n%s\nwant\n%s", got, want)
	}
}

// TestPackedAndNotReadable: a file that cannot be read as things are is not one that is gone.
func TestPackedAndNotReadable(t *testing.T) {
	var full atomic.Bool
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}, Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if full.Load() && op == disk.OpOpen && strings.HasSuffix(path, ".gz") {
			return 0, syscall.EMFILE
		}
		return 0, nil
	}}})
	rotated(t, s, 1)
	want := allText(t, s)
	run(t, "gzip", filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name))
	full.Store(true)
	r := s.Reader(Position{})
	defer r.Close()
	if _, at, err := r.Read(context.Background(), make([]byte, 4<<10)); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("at %s: %v", at, err)
	}
	full.Store(false)
	if text, at, err := r.Read(context.Background(), make([]byte, 4<<10)); err != nil || string(text) != want {
		t.Errorf("at %s: %q, %v; want %q", at, text, err, want)
	}
	full.Store(true)
	for range 2 {
		rotated(t, s, 1)
	}
	s.janitor.retention.Store(&RetentionPolicy{Compress: "none", Files: 1})
	s.janitor.wakeUp()
	waittest.Until(t, "retention, which does not wait for it", func() bool { return states(s) == "plain live" })
}

// TestRenamedByOthers: another program rotates the log, as logrotate does: it renames what it has rotated before. Each
// file stays what it is: none is packed or removed in the place of another, and readers have each line once.
func TestRenamedByOthers(t *testing.T) {
	s := open(t, &Sink{})
	name := func(i int) string { return fmt.Sprintf("%s.%d", s.Path, i) }
	var lines []string
	for i := range 3 {
		line := fmt.Sprintf("line %d of the file that is renamed", i)
		newSource().send(t, s, line)
		lines = append(lines, line)
		for k := 3; k > 0; k-- {
			for _, suffix := range []string{"", ".gz"} {
				if exists(name(k) + suffix) {
					must(t, os.Rename(name(k)+suffix, name(k+1)+suffix))
				}
			}
		}
		must(t, os.Rename(s.Path, name(1)))
		newSource().send(t, s, "so that it is noticed")
		waittest.Until(t, "another file", func() bool { return exists(s.Path) })
		s.janitor.wakeUp()
	}
	waittest.Until(t, "all that was sent", func() bool { return strings.Count(allText(t, s), "of the file that is renamed") == len(lines) })
	for _, line := range lines {
		if n := strings.Count(allText(t, s), line); n != 1 {
			t.Errorf("%q is in the log %d times", line, n)
		}
	}
}

// TestRemovedInBothForms: retention removes a file in both forms, or the one that is left would be found at a later
// start as one that no generation names.
func TestRemovedInBothForms(t *testing.T) {
	s, _, plain := besideArchive(t)
	run(t, "gunzip", "--keep", plain+".gz")
	s = open(t, &Sink{Path: s.Path, Retention: RetentionPolicy{Files: 1}})
	waittest.Until(t, "retention", func() bool { return states(s) == "plain live" })
	if exists(plain) || exists(plain+".gz") {
		t.Errorf("left: %v, %v", exists(plain), exists(plain+".gz"))
	}
}

// TestOthersBesideArchive: a file that is not what its archive holds is not removed: it may be one that is being
// unpacked.
func TestOthersBesideArchive(t *testing.T) {
	s, lines, plain := besideArchive(t)
	for i, text := range []string{"half of it", strings.Repeat("x", int(s.Status().Generations[0].Size))} {
		if err := os.WriteFile(plain, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		s = open(t, &Sink{Path: s.Path})
		newSource().send(t, s, text[:1])
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		packed := strings.Repeat("gzip ", 2+i) + "plain live" // a pass looks at earlier files first
		waittest.Until(t, "compression", func() bool { return states(s) == packed })
		if b, err := os.ReadFile(plain); string(b) != text {
			t.Errorf("%d bytes, %v; want %d", len(b), err, len(text))
		}
		eachOnce(t, s, lines)
		s.Close(context.Background())
	}
}
