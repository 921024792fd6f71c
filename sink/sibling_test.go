package sink

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// besideArchive makes a log with lines in two files, of which the first is compressed, and a third one in which the
// last line is not yet, and ends it. It returns the lines, and the path of the first file as it was before.
func besideArchive(t *testing.T) (s *Sink, lines []string, plain string) {
	t.Helper()
	var stop atomic.Bool
	s = open(t, &Sink{Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if stop.Load() && op == disk.OpWrite && filepath.Base(path) == "all.log" {
			return 0, errCrash
		}
		return 0, nil
	}}})
	lines = append(rotated(t, s, 2), "last")
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip plain live" })
	plain = filepath.Join(filepath.Dir(s.Path), strings.TrimSuffix(s.Status().Generations[0].Name, ".gz"))
	waittest.Until(t, "the removal of the file beside its archive", func() bool { return !exists(plain) })
	stop.Store(true)
	newSource().send(t, s, "last")
	<-s.Failed()
	s.Close(context.Background())
	return s, lines, plain
}

// unpack unpacks the archive of a file; keep: the archive stays, too.
func unpack(t *testing.T, plain string, keep bool) {
	t.Helper()
	args := []string{plain + ".gz"}
	if keep {
		args = append([]string{"--keep"}, args...)
	}
	if out, err := exec.Command("gunzip", args...).CombinedOutput(); err != nil {
		t.Fatalf("gunzip: %v: %s", err, out)
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
			unpack(t, plain, true)
			if err := happens(s); err != nil {
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
	unpack(t, plain, false)
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
		if out, err := exec.Command("gzip", path).CombinedOutput(); err != nil {
			t.Fatalf("gzip: %v: %s", err, out)
		}
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
