//go:build unix

package collector

import (
	"io"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"fanin/internal/disk"
)

// TestInitFollowsNoLinks: a directory that the service's user replaces by a link while root runs pki
// init does not lead root elsewhere. Without a link, all that root makes belongs to that user.
func TestInitFollowsNoLinks(t *testing.T) {
	u, err := osuser.Lookup("nobody")
	if err != nil || os.Getuid() != 0 {
		t.Skip("only root can act as nobody")
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, link := range []bool{true, false} {
		config := initConfig(t, "")
		dir := filepath.Dir(config)
		state, victim := filepath.Join(dir, "state"), filepath.Join(dir, "victim")
		for _, path := range []string{state, victim} {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(state, uid, gid); err != nil {
			t.Fatal(err)
		}
		p := newInit(t, config)
		p.user = u.Username
		p.disk.Fault = func(op disk.Op, path string) (int, error) {
			if link && op == disk.OpMkdir && path == filepath.Join(state, "pki.new") {
				return 0, os.Symlink(victim, path)
			}
			return 0, nil
		}
		if err := p.run(t.Context()); (err == nil) == link {
			t.Errorf("with a link %v: %v", link, err)
		}
		if entries, err := os.ReadDir(victim); err != nil || len(entries) > 0 {
			t.Errorf("there are %v, %v", entries, err)
		}
		for _, path := range []string{"", "authority.pem", "register.json", "server.pem", "ca.crt"} {
			fi, err := os.Stat(filepath.Join(state, "pki", path))
			if !link && (err != nil || int(fi.Sys().(*syscall.Stat_t).Uid) != uid) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestTokenForService: the collector's user can read a file of tokens that root made, whatever root's
// umask is.
func TestTokenForService(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "tokens")
	for _, name := range []string{"a", "b"} {
		c := new(options).tokenCommand()
		c.SetOut(io.Discard)
		c.SetArgs([]string{name, "--add", path})
		if err := c.Execute(); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o644 {
			t.Errorf("%v, %v", fi, err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
