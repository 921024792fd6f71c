package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root makes files below a root: names and texts in turn.
func root(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(files[i+1]), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// has compares findings with the level and the words of each that is wanted, as "wrong:words".
func has(t *testing.T, name string, found []Finding, want ...string) {
	t.Helper()
	var bad []Finding
	for _, f := range found {
		if f.Level != OK {
			bad = append(bad, f)
		}
	}
	if len(bad) != len(want) {
		t.Errorf("%s: found %+v, want %q", name, bad, want)
		return
	}
	for i, w := range want {
		level, words, _ := strings.Cut(w, ":")
		if f := bad[i]; string(f.Level) != level || !strings.Contains(f.What, words) || f.Where == "" || f.Remedy == "" {
			t.Errorf("%s: found %+v, want %q with a place and a remedy", name, f, w)
		}
	}
}

// Each limit is found where it is too low, and only there.
func TestLimits(t *testing.T) {
	host := root(t, "proc/sys/net/core/rmem_max", "212992\n", "proc/sys/fs/inotify/max_user_watches", "100\n",
		"proc/7/limits", "Limit                     Soft Limit           Hard Limit           Units\n"+
			"Max open files            1024                 524288               files\n")
	has(t, "a small buffer", ReceiveBuffer(host, []Want{{"udp", 8 << 20}}), "risk:8388608 bytes, and net.core.rmem_max is 212992")
	has(t, "a buffer that fits", ReceiveBuffer(host, []Want{{"udp", 212992}}))
	has(t, "no such limit", ReceiveBuffer(t.TempDir(), []Want{{"udp", 8 << 20}}))
	limit, err := ProcessLimit(host, 7)
	if err != nil || limit != 1024 {
		t.Fatalf("the limit is %d, %v", limit, err)
	}
	has(t, "few descriptors", OpenFiles(limit, 12000, "the collector", "raise it"), "risk:up to 12000, and the limit is 1024")
	has(t, "enough descriptors", OpenFiles(limit, 1000, "the collector", "raise it"))
	none := func() error { return nil }
	has(t, "many directories", Inotify(host, 101, none), "risk:101 directories")
	has(t, "few directories", Inotify(host, 100, none))
	has(t, "no instance", Inotify(host, 1, func() error { return errors.New("too many open files") }), "risk:no more watchers")
}

// The clock is found where nothing synchronises it, or where that is not known.
func TestClock(t *testing.T) {
	has(t, "not synchronised", Clock(false, 16_000_000, nil), "risk:not synchronised")
	has(t, "unknown", Clock(false, 0, errors.New("refused")), "risk:not known")
	has(t, "synchronised", Clock(true, 5000, nil))
}

// File systems that lose the state are found, for directories that are still to be made, too.
func TestVolatile(t *testing.T) {
	kind := func(name string) func(string) (string, error) {
		return func(path string) (string, error) {
			if path != "/var/lib" {
				return "", &fs.PathError{Op: "statfs", Path: path, Err: fs.ErrNotExist}
			}
			return name, nil
		}
	}
	state := []Place{{"the state", "/var/lib/fanin/state", "collector.state"}}
	has(t, "tmpfs", Volatile(state, kind("tmpfs")), "wrong:a reboot removes it")
	has(t, "overlay", Volatile(state, kind("overlay")), "risk:the layer of a container")
	has(t, "nfs", Volatile(state, kind("nfs")), "risk:another machine")
	has(t, "a disk", Volatile(state, kind("")))
	has(t, "an error", Volatile(state, func(string) (string, error) { return "", fs.ErrPermission }), "risk:not known")
}

// A disk that confirms too soon or too late is found, with the time.
func TestSyncs(t *testing.T) {
	times := func(d time.Duration) []time.Duration { return []time.Duration{d, time.Hour, d, d, 1} }
	has(t, "fast", Syncs("/s", times(2*time.Microsecond), nil), "risk:a sync takes 2µs, sooner than any disk")
	has(t, "slow", Syncs("/s", times(200*time.Millisecond), nil), "risk:a sync takes 200ms")
	has(t, "no sync", Syncs("/s", nil, errors.New("input/output error")), "wrong:input/output error")
	has(t, "a disk", Syncs("/s", times(time.Millisecond), nil))
}

// A disk on which the log does not fit is found.
func TestSpace(t *testing.T) {
	has(t, "full", Space("/l", Room{1 << 20, 1 << 30}, nil, 1<<30), "wrong:the disk is full: 1MiB are free")
	has(t, "too small", Space("/l", Room{4 << 30, 2 << 30}, nil, 10<<30), "risk:keep_bytes is 10GiB, and the log has 2048MiB with 4096MiB free")
	has(t, "without end", Space("/l", Room{4 << 30, 2 << 30}, nil, -1), "risk:never removed")
	has(t, "enough", Space("/l", Room{9 << 30, 2 << 30}, nil, 10<<30))
}

// Modes that are too open are found, and a directory such as /tmp, or a file that is not there, is
// none of them.
func TestModes(t *testing.T) {
	dir := root(t, "key", "", "log", "", "gone/x", "")
	at := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	has(t, "a key for all", Modes([]Guarded{{at("key", 0o644), true}}), "wrong:may read it (mode 0644)")
	has(t, "a private key", Modes([]Guarded{{at("key", 0o640), true}}))
	has(t, "a log for writers", Modes([]Guarded{{at("log", 0o666), false}}), "wrong:may write it")
	has(t, "a log for readers", Modes([]Guarded{{at("log", 0o644), false}, {dir + "/none", true}}))
	has(t, "an open state", Modes([]Guarded{{at("gone", 0o755), true}}), "risk:may read it")
	has(t, "a sticky directory", Modes([]Guarded{{at("gone", 0o777|fs.ModeSticky), false}}))
}

// Files of another user in the state are found.
func TestOwner(t *testing.T) {
	dir := root(t, "wal", "", "work/cursors-0", "")
	owner := func(of map[string]int) func(fs.FileInfo) (int, bool) {
		return func(fi fs.FileInfo) (int, bool) { return of[fi.Name()], true }
	}
	has(t, "a file of root", Owner(dir, owner(map[string]int{"cursors-0": 7})), "wrong:1 files of the state")
	has(t, "one user", Owner(dir, owner(nil)))
	has(t, "no state", Owner(dir+"/none", owner(map[string]int{"none": 7})))
}

// A logrotate configuration that names the log is found: by its name or a pattern, and not in
// comments or scripts.
func TestRotators(t *testing.T) {
	for text, line := range map[string]int{
		"/var/log/fanin/all.log {\n daily\n}\n": 1, "# logs\n\"/var/log/fanin/*.log\" /x { daily }\n": 2, "/var/log/*/all.log\n{\n}": 1,
		"/var/log/nginx/*.log {\n postrotate\n cat /var/log/fanin/all.log\n endscript\n}\n": 0, "# /var/log/fanin/all.log\n": 0,
	} {
		host := root(t, "etc/logrotate.d/x", text, "etc/logrotate.conf", "weekly\ninclude /etc/logrotate.d\n")
		found := Rotators(host, "/var/log/fanin/all.log")
		if line == 0 {
			has(t, text, found)
			continue
		}
		has(t, text, found, "wrong:logrotate rotates")
		if want := fmt.Sprintf("/etc/logrotate.d/x:%d", line); found[0].Where != want {
			t.Errorf("%q: found at %s, want %s", text, found[0].Where, want)
		}
	}
	has(t, "no logrotate", Rotators(t.TempDir(), "/var/log/fanin/all.log"))
}
