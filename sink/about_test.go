package sink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// A welcome names the log's files so that an agent can prove them: by their numbers,
// and by the bytes before a place. The locks say whose log it is.
func TestAbout(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	for range 3 {
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		src.send(t, s, "more")
	}
	expectLines(t, s, "one", "more", "more", "more")
	a := s.Welcome("a").About
	if a.Boot != disk.BootID() || len(a.Files) != 4 {
		t.Fatalf("%+v, want the live file and three rotated ones", a)
	}
	for i, g := range s.Status().Generations {
		path := filepath.Join(filepath.Dir(s.Path), g.Name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fi, _ := os.Stat(path)
		f := a.Files[len(a.Files)-1-i]
		if f.Device != disk.Device(fi) || f.Inode != disk.Inode(fi) || f.Offset > int64(len(b)) || f.Tail != wire.TailHash(b[:f.Offset]) {
			t.Errorf("%s is told as %+v", g.Name, f)
		}
		if wire.LiveName(path) != s.Path {
			t.Errorf("%s is not known as a rotated file of the log", path)
		}
	}
	for _, lock := range []string{wire.LockName(s.Path), filepath.Join(s.State, wire.StateMark)} {
		if b, err := os.ReadFile(lock); err != nil || !strings.Contains(string(b), wire.LogMark(s.view.catalog.log.String())) {
			t.Errorf("%s holds %q, %v", lock, b, err)
		}
	}
	again := &Sink{Path: s.Path} // the mark is no part of the process's name
	if err := again.Open(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", os.Getpid())) {
		t.Errorf("opened twice: %v, want the process named", err)
	}
}

// Of many files, the newest are named: a welcome stays small.
func TestAboutIsBounded(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	for range wire.MaxAbout + 5 {
		src.send(t, s, "x")
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.Welcome("a").About; len(a.Files) != wire.MaxAbout || a.Files[0].Inode != disk.Inode(fi) {
		t.Errorf("%d files, the first of inode %d; want %d, the live one first", len(a.Files), a.Files[0].Inode, wire.MaxAbout)
	}
}

// What cannot be read is not named, since an agent could not prove it.
func TestLogFileUnreadable(t *testing.T) {
	dir := t.TempDir() // it opens and has a size, but no bytes
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		if f, ok := logFile(path); ok {
			t.Errorf("%s is named as %+v", path, f)
		}
	}
}
