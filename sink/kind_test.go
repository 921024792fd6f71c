package sink

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// listing is what is in a directory and below: names, kinds, modes and contents.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + fi.Mode().String())
		if fi.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(text)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// must fails the test for whatever went wrong in making ready for it.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestWrongKinds: what cannot be a log, or its state, is refused by Check and by
// Open, at once and before anything is touched.
func TestWrongKinds(t *testing.T) {
	refused := func(name, want string, arrange func(dir string) (*Sink, error)) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := arrange(dir)
			if err != nil {
				t.Skip(err)
			}
			before := listing(t, dir)
			other := &Sink{Path: s.Path, State: s.State}
			for _, err := range []error{s.Check(context.Background()), other.Open(context.Background())} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if after := listing(t, dir); after != before {
				t.Errorf("something was touched: before\n%s\nafter\n%s", before, after)
			}
		})
	}
	log := func(make func(path string) error) func(dir string) (*Sink, error) {
		return func(dir string) (*Sink, error) {
			path := filepath.Join(dir, "all.log")
			return &Sink{Path: path}, make(path)
		}
	}
	refused("directory", "is a directory", log(func(p string) error {
		return errors.Join(os.Mkdir(p, 0o750), os.WriteFile(filepath.Join(p, "precious"), []byte("x"), 0o600))
	}))
	refused("name of a directory", "the name of a directory", func(dir string) (*Sink, error) { return &Sink{Path: dir + "/new/"}, nil })
	refused("pipe", "a named pipe (FIFO)", log(func(p string) error { return syscall.Mkfifo(p, 0o640) }))
	refused("device", "is a device", log(func(p string) error { return syscall.Mknod(p, syscall.S_IFCHR|0o666, 1<<8|3) }))
	refused("socket", "is a socket", log(func(p string) error {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
		if err == nil {
			ln.SetUnlinkOnClose(false)
			err = ln.Close()
		}
		return err
	}))
	refused("dangling link", "which is not there", log(func(p string) error { return os.Symlink("nowhere.log", p) }))
	refused("link into nowhere", "which is not there", log(func(p string) error { return os.Symlink("none/all.log", p) }))
	refused("link to a directory", "is a directory", log(func(p string) error { return os.Symlink(".", p) }))
	refused("link to a pipe", "a named pipe (FIFO)", log(func(p string) error { return errors.Join(syscall.Mkfifo(p+".pipe", 0o640), os.Symlink(p+".pipe", p)) }))
	refused("links in a circle", "links lead from one to the next", log(func(p string) error { return os.Symlink("all.log", p) }))
	refused("file for a directory", "not a directory", func(dir string) (*Sink, error) {
		return &Sink{Path: filepath.Join(dir, "file", "all.log")}, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	})
	refused("name too long", "too long", func(dir string) (*Sink, error) {
		return &Sink{Path: filepath.Join(dir, strings.Repeat("x", 240))}, nil
	})
	refused("lock is a pipe", "a named pipe (FIFO)", func(dir string) (*Sink, error) {
		return &Sink{Path: filepath.Join(dir, "all.log")}, syscall.Mkfifo(filepath.Join(dir, ".all.log.lock"), 0o640)
	})
	state := func(make func(path string) error) func(dir string) (*Sink, error) {
		return func(dir string) (*Sink, error) {
			path := filepath.Join(dir, "state")
			return &Sink{Path: filepath.Join(dir, "all.log"), State: path}, make(path)
		}
	}
	refused("state is a file", "is a file; it must be a directory", state(func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) }))
	refused("state is a pipe", "a named pipe (FIFO)", state(func(p string) error { return syscall.Mkfifo(p, 0o640) }))
	refused("state is a dangling link", "which is not there", state(func(p string) error { return os.Symlink("nowhere", p) }))
	for _, name := range []string{walName, checkpointName, "lock", "table-1", "ledger-00000001"} {
		refused(name+" is a pipe", "a named pipe (FIFO)", state(func(p string) error {
			return errors.Join(os.Mkdir(p, 0o750), syscall.Mkfifo(filepath.Join(p, name), 0o640))
		}))
	}
	refused("log is a file of the state", "needs", func(dir string) (*Sink, error) {
		return &Sink{Path: filepath.Join(dir, walName), State: dir}, nil
	})
}

// TestLogThroughLink: a link to the log stays a link, through rotation, restart,
// compression and a file that is deleted; all else lies beside what it leads to.
func TestLogThroughLink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "data", "real.log"), filepath.Join(dir, "link.log")
	must(t, os.Mkdir(filepath.Dir(real), 0o750), os.WriteFile(real, nil, 0o640), os.Symlink("data/real.log", link))
	src := newSource()
	var want []string
	for i := range 3 {
		if err := (&Sink{Path: link, Retention: RetentionPolicy{Compress: "gzip"}}).Check(context.Background()); err != nil {
			t.Fatal(err)
		}
		s := open(t, &Sink{Path: link, Retention: RetentionPolicy{Compress: "none"}})
		if s.Path != real || s.State != StateDir(real) || StateDir(link) != StateDir(real) {
			t.Fatalf("the log is %s with the state %s", s.Path, s.State)
		}
		line := strings.Repeat("x", i+1)
		src.send(t, s, line)
		want = append(want, line)
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		expectLines(t, s, want...)
		must(t, s.Close(context.Background()))
		if i == 1 { // as a crash leaves it between the two steps of a rotation
			must(t, os.Remove(real))
		}
	}
	if to, err := os.Readlink(link); err != nil || to != "data/real.log" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	r, err := Verify(context.Background(), link, "")
	if err != nil || !r.OK() {
		t.Errorf("verify: %v, %v", err, r.Problems)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("beside the link: %v, %v", entries, err)
	}
}

// TestOneLogUnderTwoNames: the log is locked as the file that it is, so a second
// collector is refused whatever name it has for it, and changes nothing.
func TestOneLogUnderTwoNames(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	expectLines(t, s, "one")
	refused := func(round int) {
		for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
			other := &Sink{Path: filepath.Join(t.TempDir(), name+".log")}
			must(t, link(s.Path, other.Path))
			for _, err := range []error{other.Check(context.Background()), (&Sink{Path: other.Path, State: t.TempDir()}).Open(context.Background())} {
				if !errors.Is(err, disk.ErrLocked) {
					t.Errorf("round %d, %s link: a second collector: %v", round, name, err)
				}
			}
		}
	}
	refused(1)
	if _, err := s.Rotate(context.Background()); err != nil {
		t.Fatal(err)
	}
	src.send(t, s, "two")
	refused(2) // the next file is locked too
	src.send(t, s, "three")
	expectLines(t, s, "one", "two", "three")
	if n := s.counts.interference.Load(); n != 0 {
		t.Errorf("%d interferences", n)
	}
}

// TestMode: every file of the log has the configured mode, whatever made it and
// whatever the umask says; so do directories that are made for it.
func TestMode(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "made", "for", "all.log")
	must(t, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600))
	s := open(t, &Sink{Path: path, State: filepath.Join(dir, "of", "state"), Modes: FileModes{File: 0o664, Dir: 0o775}})
	src := newSource()
	for _, line := range []string{"one", "two", "three"} {
		src.send(t, s, line)
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	waittest.Until(t, "archives", func() bool { return s.counts.upkeep.compressed.Load() == 2 })
	must(t, os.Remove(path))
	src.send(t, s, "four")
	waittest.Until(t, "a new file", func() bool { return exists(path) })
	for _, g := range s.Status().Generations {
		fi, err := os.Stat(filepath.Join(filepath.Dir(path), g.Name))
		if g.Name != "" && (err != nil || fi.Mode().Perm() != 0o664) {
			t.Errorf("%s: %v, %v", g.Name, fi.Mode(), err)
		}
	}
	for _, d := range []string{filepath.Join(dir, "of"), s.State} {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm() != 0o775 {
			t.Errorf("%s: %v, %v", d, fi.Mode(), err)
		}
	}
}

// TestLockErrors: what keeps the log from being locked is said as it is.
func TestLockErrors(t *testing.T) {
	dir := t.TempDir()
	d := &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpOpen && strings.HasSuffix(path, "lock") {
			return 0, syscall.EACCES
		}
		return 0, nil
	}}
	err := (&Sink{Path: filepath.Join(dir, "all.log"), Disk: d}).Open(context.Background())
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "only one collector") {
		t.Errorf("got %v", err)
	}
}

// TestCheckFindsDamage: a state that Open would refuse is refused by Check, with the
// same words.
func TestCheckFindsDamage(t *testing.T) {
	s := open(t, &Sink{env: environment{walSize: 64 << 10}})
	newSource().send(t, s, "one")
	must(t, s.Close(context.Background()))
	again := func() *Sink { return &Sink{Path: s.Path, env: environment{walSize: 64 << 10}} }
	must(t, again().Check(context.Background()))
	b := make([]byte, 2*blockSize)
	b[0] = 1
	must(t, os.WriteFile(filepath.Join(s.State, checkpointName), b, 0o640))
	check, start := again().Check(context.Background()), again().Open(context.Background())
	var damaged *DamagedError
	if !errors.As(check, &damaged) || !errors.As(start, &damaged) || !strings.Contains(start.Error(), check.Error()) {
		t.Errorf("check says %v, the start %v", check, start)
	}
}
