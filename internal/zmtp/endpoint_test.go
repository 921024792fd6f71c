package zmtp

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		text, network, listen string
		local, connects       bool
	}{
		{"tcp://127.0.0.1:5557", "tcp", "127.0.0.1:5557", true, true},
		{"tcp://localhost:5557", "tcp", "localhost:5557", true, true},
		{"tcp://[::1]:5557", "tcp", "[::1]:5557", true, true},
		{"tcp://[::ffff:127.0.0.1]:5557", "tcp", "[::ffff:127.0.0.1]:5557", true, true},
		{"tcp://example.org:5557", "tcp", "example.org:5557", false, true},
		{"tcp://192.0.2.1:05557", "tcp", "192.0.2.1:5557", false, true},
		{"tcp://*:5557", "tcp", ":5557", false, false},
		{"tcp://127.0.0.1:*", "tcp", "127.0.0.1:0", true, false},
		{"tcp://127.0.0.1:0", "tcp", "127.0.0.1:0", true, false},
		{"ipc:///run/app.sock", "unix", "/run/app.sock", true, true},
		{"ipc://@app", "unix", "@app", true, true},
	} {
		e, err := ParseEndpoint(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if e.Network != c.network || e.Listen() != c.listen || e.Local() != c.local ||
			(e.CanConnect() == nil) != c.connects {
			t.Errorf("%s: %q, listens on %q, local %v, CanConnect %v", c.text, e.Network, e.Listen(), e.Local(),
				e.CanConnect())
		}
	}
	for _, bad := range []string{"", "127.0.0.1:5557", "tcp://", "tcp://127.0.0.1", "tcp://:5557", "tcp://a:b",
		"tcp://a:65536", "tcp://a:-1", "tcp://eth0;192.0.2.1:5557", "ipc://", "inproc://a", "ws://a:1", "udp://a:1",
		"ipc://" + strings.Repeat("x", 108)} {
		if e, err := ParseEndpoint(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, e)
		}
	}
}

// TestBindAbandoned: what a killed process leaves behind of a Unix socket does not keep
// the next one from binding it; a socket that is served does, and a file is never removed.
func TestBindAbandoned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	e := Endpoint{"unix", path}
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.bind(); err == nil {
		t.Fatal("bound a socket that is served")
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	ln, err := e.bind()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.bind(); err == nil {
		t.Fatal("bound over a file")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Fatalf("the file has %q, %v", b, err)
	}
}
