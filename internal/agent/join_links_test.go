//go:build unix

package agent

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// ofService returns a directory that belongs to another user than root, whose name it returns, and
// that this user can reach.
func ofService(t *testing.T) (dir, name string) {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil || os.Getuid() != 0 {
		t.Skip("only root can act as nobody")
	}
	dir = t.TempDir()
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir, u.Username
}

// share lets everyone use the files of a collector in this process, which acts as another user meanwhile.
func (a *authority) share(t *testing.T) {
	t.Helper()
	dir := filepath.Dir(a.Paths().CA)
	for _, path := range []string{filepath.Dir(filepath.Dir(dir)), dir} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJoinFollowsNoLinks: what the service's user puts into its directory does not lead root, who joins,
// to other files.
func TestJoinFollowsNoLinks(t *testing.T) {
	for what, plant := range map[string]func(state, victim string) error{
		"a directory": func(state, victim string) error {
			return os.Symlink(victim, filepath.Join(state, "tls"))
		},
		"a file": func(state, victim string) error {
			if err := os.Mkdir(filepath.Join(state, "tls"), 0o777); err != nil {
				return err
			}
			os.Chmod(filepath.Join(state, "tls"), 0o777)
			return os.Symlink(filepath.Join(victim, "shadow"), filepath.Join(state, "tls", ".ca.crt.new"))
		},
	} {
		a := newAuthority(t)
		a.share(t)
		dir, name := ofService(t)
		j := newJob(dir)
		j.user = name
		victim := filepath.Join(dir, "victim")
		if err := os.Mkdir(victim, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(victim, "shadow"), []byte("root"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := plant(j.state, victim); err != nil {
			t.Fatal(err)
		}
		if err := j.run(t.Context(), a.invite(t, "web-1")); err == nil {
			t.Errorf("%s: the host joined", what)
		}
		entries, err := os.ReadDir(victim)
		text, _ := os.ReadFile(filepath.Join(victim, "shadow"))
		if err != nil || len(entries) != 1 || string(text) != "root" {
			t.Errorf("%s: there are %v with %q, %v", what, entries, text, err)
		}
	}
}

// TestJoinForService: what root makes for the service belongs to the service's user, and the
// configuration keeps its owner and mode.
func TestJoinForService(t *testing.T) {
	a := newAuthority(t)
	a.share(t)
	dir, name := ofService(t)
	for _, state := range []string{"state", "other"} { // the second one is not there, and only root can make it
		j := newJob(dir)
		j.user, j.state, j.config = name, filepath.Join(dir, state), filepath.Join(dir, state+".toml")
		if err := os.WriteFile(j.config, []byte("[agent]\nto = [\"tcp://127.0.0.1:6789\"]\n[[agent.file]]\npaths = [\"/var/log/*.log\"]\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(j.config, 0, 34); err != nil {
			t.Fatal(err)
		}
		if err := j.run(t.Context(), a.invite(t, "web-1")); err != nil {
			t.Fatal(err)
		}
		wantJoined(t, j, "web-1")
		if fi, err := os.Stat(j.config); err != nil || fi.Mode().Perm() != 0o640 || fi.Sys().(*syscall.Stat_t).Gid != 34 {
			t.Errorf("the configuration: %v, %+v", err, fi.Sys())
		}
		if os.Geteuid() != 0 || os.Getegid() != 0 {
			t.Fatal("the process did not become root again")
		}
		want, err := os.Stat(filepath.Join(dir, "state"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"", "tls", "tls/identity.pem", "tls/ca.crt"} {
			fi, err := os.Stat(filepath.Join(j.state, path))
			if err != nil || fi.Sys().(*syscall.Stat_t).Uid != want.Sys().(*syscall.Stat_t).Uid {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
