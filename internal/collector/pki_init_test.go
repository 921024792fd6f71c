package collector

import (
	"errors"
	"io"
	"net"
	"os"
	osuser "os/user"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/daemon"
	"fanin/internal/disk"
)

// newInit is a run of pki init with a configuration, as the user of the test.
func newInit(t *testing.T, config string) *pkiInit {
	t.Helper()
	u, err := osuser.Current()
	if err != nil {
		t.Fatal(err)
	}
	return &pkiInit{o: &options{config: config}, names: []string{"127.0.0.1"}, listen: "127.0.0.1:0", user: u.Username, noService: true, out: io.Discard}
}

// initConfig writes a configuration whose collector does not run.
func initConfig(t *testing.T, more string) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "collector.toml")
	text := "# mine\n[collector]\nstate = \"" + dir + "/state\"\n[collector.log]\npath = \"" + dir + "/all.log\"\n" + more
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func textOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestInit: the listener is appended, and nothing else changes; the second time nothing changes. Where
// the configuration names no input, those that it has by default stay.
func TestInit(t *testing.T) {
	for _, more := range []string{"", "[[collector.tcp]]\nlisten = \"127.0.0.1:6789\"\n", "[[collector.tcp]]\nlisten = \"127.0.0.1:6789\" # no newline"} {
		path := initConfig(t, more)
		before := textOf(t, path)
		for range 2 {
			if err := newInit(t, path).run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got := textOf(t, path)
		if !strings.HasPrefix(got, before) || strings.Count(got, "client_ca") != 1 {
			t.Errorf("the configuration is\n%s", got)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", fi, err)
		}
		s, err := (&options{config: path}).load()
		if err != nil {
			t.Fatal(err)
		}
		at := make(map[string]bool)
		for _, p := range s.ports() {
			at[p.network+" "+p.listen] = true
		}
		if !at["tcp 127.0.0.1:0"] || !at["tcp 127.0.0.1:6789"] || more == "" && !at["udp 127.0.0.1:6789"] {
			t.Errorf("with %q it listens at %v", more, at)
		}
	}
}

// TestInitRefuses: mistakes change nothing, and say what to do.
func TestInitRefuses(t *testing.T) {
	path := initConfig(t, "[[collector.tcp]]\nlisten = \"127.0.0.1:6793\"\n")
	before := textOf(t, path)
	for want, change := range map[string]func(p *pkiInit){
		"--name is missing":                 func(p *pkiInit) { p.names = nil },
		"is no name or address":             func(p *pkiInit) { p.names = []string{"a b"} },
		"there is no user \"no-such-user\"": func(p *pkiInit) { p.user = "no-such-user" },
		"(another address: --listen)":       func(p *pkiInit) { p.listen = ":6793" },
		"listen is \"nowhere\"":             func(p *pkiInit) { p.listen = "nowhere" },
		"does not know --out: set --config": func(p *pkiInit) { p.o.out = "all.log" },
	} {
		p := newInit(t, path)
		change(p)
		if err := p.run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if got := textOf(t, path); got != before {
			t.Errorf("%s: the configuration is\n%s", want, got)
		}
	}
	other := newInit(t, initConfig(t, ""))
	if err := other.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.names = []string{"other.example"}
	if err := other.run(t.Context()); err == nil || !strings.Contains(err.Error(), "there is an authority already, for 127.0.0.1") {
		t.Errorf("another name: %v", err)
	}
}

// TestInitNew: the configuration that is written where there is none has no mistakes.
func TestInitNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "collector.toml")
	if err := newInit(t, path).write(path, newCollectorConfig, false); err != nil {
		t.Error(err)
	}
	if err := newInit(t, path).write(path, newCollectorConfig, false); !errors.Is(err, os.ErrExist) {
		t.Errorf("over one that is there: %v", err)
	}
}

// TestInitKilled: a run that ends after any step is completed by another one.
func TestInitKilled(t *testing.T) {
	killed := errors.New("killed")
	for steps := 0; ; steps++ {
		path, left := initConfig(t, ""), steps
		p := newInit(t, path)
		p.disk.Fault = func(disk.Op, string) (int, error) {
			if left--; left < 0 {
				return 0, killed
			}
			return 0, nil
		}
		err := p.run(t.Context())
		if err != nil && !errors.Is(err, killed) {
			t.Fatal(err)
		}
		if err := newInit(t, path).run(t.Context()); err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		if text := textOf(t, path); !strings.HasPrefix(text, "# mine\n") || strings.Count(text, "client_ca") != 1 {
			t.Fatalf("after %d steps the configuration is\n%s", steps, text)
		}
		if err == nil {
			return
		}
	}
}

// TestInitReloads: a collector that runs takes up the authority and the listener without a restart, and
// hosts can join.
func TestInitReloads(t *testing.T) {
	c, path := configured(t, "")
	c.send(t, "before")
	p := newInit(t, path)
	var out strings.Builder
	p.out = &out
	if err := p.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "the new configuration is in force") || !strings.HasSuffix(out.String(), " in)\n") {
		t.Errorf("it says %q", out.String())
	}
	token := c.invite(t, "web-1")
	if _, port, err := net.SplitHostPort(token.Address); err != nil || port == "0" {
		t.Errorf("the token leads to %s", token.Address)
	}
	c.joined(t, "web-1")
	c.send(t, "after")
	if err := newInit(t, path).run(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, append([]byte("none = 1\n"), textOf(t, path)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newInit(t, path).run(t.Context()); daemon.Code(err) != daemon.ExitConfig {
		t.Errorf("with a mistake: %v", err)
	}
}
