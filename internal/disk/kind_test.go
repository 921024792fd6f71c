//go:build unix

package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestKinds: what is no regular file is refused by every call that would open it, at
// once, and is what it was.
func TestKinds(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(at("dir"), 0o700), syscall.Mkfifo(at("pipe"), 0o600), os.Symlink("nowhere", at("dangling")),
		os.Symlink("pipe", at("link")), os.WriteFile(at("file"), []byte("x"), 0o600), os.Symlink("file", at("good")))
	for name, want := range map[string]string{"dir": "is a directory; it must be a regular file", "pipe": "is a named pipe (FIFO)", "link": "is a named pipe (FIFO)",
		"dangling": "is a link to nowhere, which is not there", "file": "", "good": "", "none": ""} {
		calls := map[string]func() error{
			"Regular": func() error { return Regular(at(name)) },
			"Open": func() error {
				f, err := new(Disk).Open(at(name), os.O_RDWR, 0)
				if err == nil {
					f.Close()
				}
				return err
			},
			"Open to make it": func() error {
				if name == "none" {
					return nil
				}
				f, err := new(Disk).Open(at(name), os.O_WRONLY|os.O_CREATE, 0o600)
				if err == nil {
					f.Close()
				}
				return err
			},
			"Lock": func() error {
				if want == "" {
					return nil
				}
				_, err := new(Disk).Lock(at(name))
				return err
			},
			"ReadFile": func() error { _, err := ReadFile(at(name)); return err },
		}
		for call, f := range calls {
			err := f()
			var kind *KindError
			switch {
			case want == "" && err != nil && (name != "none" || !errors.Is(err, fs.ErrNotExist)):
				t.Errorf("%s of %s: %v", call, name, err)
			case want != "" && (!errors.As(err, &kind) || !strings.Contains(err.Error(), want)):
				t.Errorf("%s of %s: %v, want %q", call, name, err, want)
			}
		}
	}
	for name, want := range map[string]string{"file": "is a file; it must be a directory", "pipe": "is a named pipe (FIFO); it must be a directory", "dangling": "which is not there", "dir": "", "none": ""} {
		if err := Directory(at(name)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("directory %s: %v, want %q", name, err, want)
		}
	}
	if _, err := os.Stat(at("nowhere")); err == nil {
		t.Error("a file was made through a link that leads nowhere")
	}
}

// TestTarget: links are followed one by one, from where each really is.
func TestTarget(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(at("a/b"), 0o700), os.WriteFile(at("a/file"), nil, 0o600), os.Symlink("a/b", at("deep")), os.Symlink("../file", at("a/b/up")),
		os.Symlink("deep/up", at("through")), os.Symlink(at("a/file"), at("absolute")), os.Symlink("through", at("chain")), os.Symlink("a/none", at("dangling")),
		os.Symlink("none/x", at("nowhere")), os.Symlink("circle", at("circle")))
	for name, want := range map[string]string{"a/file": "a/file", "none": "none", "through": "a/file", "absolute": "a/file", "chain": "a/file", "dangling": "a/none", "deep/up": "a/file"} {
		if got, err := Target(at(name)); err != nil || got != at(want) {
			t.Errorf("%s leads to %s, %v; want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"nowhere", "circle"} {
		if got, err := Target(at(name)); err == nil {
			t.Errorf("%s leads to %s", name, got)
		}
	}
}

// TestStrayed: a file knows whether it is still what is at its name.
func TestStrayed(t *testing.T) {
	for want, change := range map[string]func(path string) error{
		"":           func(string) error { return nil },
		"deleted":    os.Remove,
		"moved away": func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
	} {
		dir := filepath.Join(t.TempDir(), "dir")
		must(t, os.Mkdir(dir, 0o700))
		f := create(t, new(Disk), filepath.Join(dir, "file"))
		if !f.InPlace() || f.Strayed() != "" {
			t.Fatalf("a new file has strayed: %q", f.Strayed())
		}
		must(t, change(f.Name()))
		if got := f.Strayed(); got != want || f.InPlace() != (want == "") {
			t.Errorf("got %q, %v; want %q", got, f.InPlace(), want)
		}
		must(t, os.RemoveAll(dir))
		if f.InPlace() || f.Strayed() == "" {
			t.Errorf("%s, and then the directory was deleted: %q", want, f.Strayed())
		}
	}
}

// TestModes are what is asked for, whatever the umask says.
func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	must(t, MkdirAll(filepath.Join(dir, "a", "b"), 0o775), MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	for _, name := range []string{"a", "a/b"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != 0o775 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	f := create(t, new(Disk), filepath.Join(dir, "file"))
	must(t, f.HaveMode(0o664))
	if fi, err := f.Stat(); err != nil || fi.Mode().Perm() != 0o664 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}

// TestUsable leaves nothing behind and makes nothing.
func TestUsable(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for name, good := range map[string]bool{"": true, "a/b/c": true, "file": false, "file/a": false} {
		if err := Usable(filepath.Join(dir, name)); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("it left %v, %v", entries, err)
	}
}
