package collector

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/waittest"
)

// unixCollector is a collector with one unix socket, and the path of that.
func unixCollector(t *testing.T, more string) (c *server, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "log.sock")
	c, _ = configured(t, fmt.Sprintf("[[collector.unix]]\npath = %q\nhost = \"web01\"\n%s", path, more))
	return c, path
}

// logged waits until the log has a text.
func logged(t *testing.T, c *server, want string) {
	t.Helper()
	waittest.Until(t, "the log has "+want, func() bool {
		text, err := os.ReadFile(c.sink.Status().Path)
		return err == nil && strings.Contains(string(text), want)
	})
}

// TestUnix: both types take syslog and lines as they are, with the process id that the kernel
// knows, whatever the message says.
func TestUnix(t *testing.T) {
	for kind, network := range map[string]string{"datagram": "unixgram", "stream": "unix"} {
		c, path := unixCollector(t, fmt.Sprintf("type = %q\nmode = \"0600\"\n", kind))
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v, the mode of the socket is %v", err, fi.Mode())
		}
		nc, err := net.Dial(network, path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		for _, message := range []string{"<13>Oct 11 22:14:15 app[1]: one\n", "<13>two\x00", "three\n"} {
			if _, err := io.WriteString(nc, message); err != nil {
				t.Fatal(err)
			}
		}
		pid := os.Getpid()
		logged(t, c, fmt.Sprintf(" web01 app[%d]: pid=1 one\n", pid))
		logged(t, c, fmt.Sprintf(" web01 unix[%d]: two\n", pid))
		logged(t, c, fmt.Sprintf(" web01 unix[%d]: three\n", pid))
	}
}

// TestUnixCount: over a stream socket, octet counts are understood, too.
func TestUnixCount(t *testing.T) {
	c, path := unixCollector(t, "type = \"stream\"\n")
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(nc, "11 <13>one\ntwo7 <13>end")
	nc.Close()
	logged(t, c, fmt.Sprintf(" web01 unix[%d]: one#012two\n", os.Getpid()))
	logged(t, c, fmt.Sprintf(" web01 unix[%d]: end\n", os.Getpid()))
}

// TestUnixLarge: a datagram as large as the system allows comes complete.
func TestUnixLarge(t *testing.T) {
	c, path := unixCollector(t, "")
	nc, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	large := strings.Repeat("x", 200_000)
	if _, err := io.WriteString(nc, "<13>"+large); err != nil {
		t.Fatal(err)
	}
	logged(t, c, ": "+large+"\n")
}

// TestUnixReplaces: what is left of a process that is gone is replaced, and nothing else.
func TestUnixReplaces(t *testing.T) {
	dir := t.TempDir()
	stale, live, file := filepath.Join(dir, "stale"), filepath.Join(dir, "live"), filepath.Join(dir, "file")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	other, err := net.ListenPacket("unixgram", live)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{stale: "", live: "another process listens", file: "is no socket", filepath.Join(dir, "none", "log"): "is no directory"} {
		text := fmt.Sprintf("[collector.log]\nsync = \"none\"\npath = %q\n[[collector.unix]]\npath = %q\n", filepath.Join(t.TempDir(), "all.log"), path)
		s, err := check(t, t.TempDir(), text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: check says %v", path, err)
		}
		if err := start(s); (err == nil) != (want == "") {
			t.Errorf("%s: the start says %v", path, err)
		}
		if _, err := os.Lstat(path); (path == stale) != os.IsNotExist(err) && want != "is no directory" {
			t.Errorf("%s after the stop: %v", path, err)
		}
	}
}

// TestUnixAgain: a socket that another process removed is made again, and a peer connected to
// the old one goes on.
func TestUnixAgain(t *testing.T) {
	c, path := unixCollector(t, "")
	old, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the socket is there again", func() bool {
		nc, err := net.Dial("unixgram", path)
		if err == nil {
			io.WriteString(nc, "<13>new")
			nc.Close()
		}
		return err == nil
	})
	io.WriteString(old, "<13>old")
	logged(t, c, ": new\n")
	logged(t, c, ": old\n")
}

// TestUnixOfSystemd: a socket that systemd made is served, and left where it is.
func TestUnixOfSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := loadText(t, t.TempDir(), fmt.Sprintf("[collector.log]\nsync = \"none\"\npath = %q\n[[collector.unix]]\nlisten = \"systemd:log\"\n", filepath.Join(t.TempDir(), "all.log")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newServer(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.sockets = newSockets([]*os.File{passed(t, "log", conn)})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }() // ends by stop
	nc, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "<13>taken")
	<-c.opened
	logged(t, c, ": taken\n")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's socket was removed: %v", err)
	}
}
