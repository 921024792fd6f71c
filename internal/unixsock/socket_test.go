package unixsock

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// memory keeps lines as "source: text".
type memory struct {
	mu    sync.Mutex
	lines []string
}

func (m *memory) Append(_ context.Context, text []byte, source string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		m.lines = append(m.lines, source+": "+strings.TrimSuffix(line, "\n"))
	}
	return nil
}

func (m *memory) AppendRecord(_ context.Context, message []byte, source string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, source+": "+string(message))
	return nil
}

func (m *memory) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lines)
}

// serve makes a socket, and returns what it takes, its path, and what ends it.
func serve(t *testing.T, settings Settings) (m *memory, path string, stop func()) {
	t.Helper()
	m = new(memory)
	settings.Path, settings.Lines = filepath.Join(t.TempDir(), "log"), m
	if settings.Source == "" {
		settings.Source = "log"
	}
	s, err := Listen(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends by stop
		defer close(done)
		s.Serve(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return m, settings.Path, stop
}

// send sends messages over one socket of this process.
func send(t *testing.T, network, path string, messages ...string) {
	t.Helper()
	c, err := net.Dial(network, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, x := range messages {
		if _, err := c.Write([]byte(x)); err != nil {
			t.Fatal(err)
		}
	}
}

func want(t *testing.T, m *memory, lines ...string) {
	t.Helper()
	waittest.Until(t, fmt.Sprint(len(lines), " lines"), func() bool { return len(m.all()) >= len(lines) })
	if got := m.all(); !slices.Equal(got, lines) {
		t.Errorf("the lines are %q, want %q", got, lines)
	}
}

// TestDatagrams: each is a message, with the process that sent it.
func TestDatagrams(t *testing.T) {
	m, path, _ := serve(t, Settings{PID: true})
	own := os.Getpid()
	send(t, "unixgram", path, "plain", "<13>Nov  6 03:12:01 app[1]: text", "<14>from Python\x00", "<14>of two\nlines\x00", "<14>Nov 16 03:12:01 app: with an end\n", "\x00", "", "<999>x")
	want(t, m, fmt.Sprintf("log[%d]: plain", own), fmt.Sprintf("app[%d]: text", own), fmt.Sprintf("log[%d]: from Python", own), fmt.Sprintf("log[%d]: of two\nlines", own),
		fmt.Sprintf("app[%d]: with an end", own), fmt.Sprintf("log[%d]: <999>x", own))
}

// TestStream: messages end in a newline or a NUL, and the last one with the connection.
func TestStream(t *testing.T) {
	m, path, _ := serve(t, Settings{Stream: true})
	send(t, "unix", path, "one\ntw", "o\n\nthree\n\x00<13>Nov  6 03:12:01 app[1]: four\x00fi", "ve")
	want(t, m, "log: one", "log: two", "log: ", "log: three", "app: four", "log: five")
	long := strings.Repeat("x", 3<<20)
	send(t, "unix", path, "<13>Nov  6 03:12:01 big: "+long+"\nafter\n")
	waittest.Until(t, "the rest", func() bool { return len(m.all()) == 6+4+1 })
	joined := strings.ReplaceAll(strings.Join(m.all()[6:10], "\n"), wire.SplitMark+"\nbig: "+wire.SplitGoesOn, "")
	if joined != "big: "+long || m.all()[10] != "log: after" {
		t.Errorf("a long line became %d bytes: %.80q", len(joined), joined)
	}
}

// TestPlain: with Plain, headers are text.
func TestPlain(t *testing.T) {
	m, path, _ := serve(t, Settings{Plain: true})
	send(t, "unixgram", path, "<13>Nov  6 03:12:01 app[1]: text")
	want(t, m, "log: <13>Nov  6 03:12:01 app[1]: text")
}

// TestStop: what was sent before a stop is taken, and the socket is gone.
func TestStop(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		m, path, stop := serve(t, Settings{Stream: network == "unix"})
		c, err := net.Dial(network, path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sent := make(chan int)
		go func() { // ends with the socket
			n := 0
			for err := error(nil); err == nil; n++ {
				_, err = fmt.Fprintf(c, "line %d\n", n)
			}
			sent <- n - 1
		}()
		waittest.Until(t, "lines", func() bool { return len(m.all()) > 100 })
		stop()
		n := <-sent
		if got := m.all(); len(got) != n || got[n-1] != fmt.Sprint("log: line ", n-1) {
			t.Errorf("%s: %d lines of %d", network, len(got), n)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s: the socket is still there", network)
		}
	}
}

// TestListen: a socket that a killed process left is replaced; one that lives, and a file, is
// not.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	settings := Settings{Path: path, Source: "log", Lines: new(memory)}
	for _, network := range []string{"unix", "unixgram"} {
		for _, stream := range []bool{false, true} {
			settings.Stream = stream
			left := leave(t, network, path)
			if _, err := Listen(settings); err == nil || !strings.Contains(err.Error(), "another process listens") {
				t.Errorf("%s: %v", network, err)
			}
			left()
			s, err := Listen(settings)
			if err != nil {
				t.Fatal(err)
			}
			if fi, err := os.Lstat(path); err != nil || fi.Mode().Perm() != 0o666 || fi.Mode()&fs.ModeSocket == 0 {
				t.Errorf("%v, %v", fi, err)
			}
			s.mu.Lock()
			s.closeLocked()
			s.mu.Unlock()
		}
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(settings); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("%v", err)
	}
}

// leave makes a socket; what it returns ends its process, in effect: the name stays.
func leave(t *testing.T, network, path string) func() {
	t.Helper()
	if network == "unixgram" {
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		return func() { c.Close() }
	}
	ln, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	return func() { ln.Close() }
}

// TestRemoved: a socket that another process removes is made again, and connections go on.
func TestRemoved(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		m := new(memory)
		s, err := Listen(Settings{Path: filepath.Join(t.TempDir(), "log"), Lines: m, Source: "log", Stream: network == "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // ends by cancel
			defer close(done)
			s.Serve(ctx)
		}()
		c, err := net.Dial(network, s.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintln(c, "one")
		want(t, m, "log: one")
		if err := os.Remove(s.Path); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.drainLocked() // as watch does
		s.mu.Unlock()
		waittest.Until(t, "the socket", func() bool { _, err := os.Lstat(s.Path); return err == nil })
		waittest.Until(t, "its listener", func() bool {
			c, err := net.Dial(network, s.Path)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		send(t, network, s.Path, "two\n")
		want(t, m, "log: one", "log: two")
		if network == "unix" {
			fmt.Fprintln(c, "three")
			want(t, m, "log: one", "log: two", "log: three")
		}
		cancel()
		<-done
	}
}

// TestMaxConns: more connections than allowed are closed and counted.
func TestMaxConns(t *testing.T) {
	m, path, _ := serve(t, Settings{Stream: true, MaxConns: 1})
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	fmt.Fprintln(first, "one")
	want(t, m, "log: one")
	second, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the second connection was not closed")
	}
	fmt.Fprintln(first, "two")
	want(t, m, "log: one", "log: two")
}

// TestPeers: the real logger, and Python's logging, over both types.
func TestPeers(t *testing.T) {
	python := `
import logging, logging.handlers, socket, sys
kind = socket.SOCK_STREAM if sys.argv[2] == "stream" else socket.SOCK_DGRAM
log = logging.getLogger(); log.setLevel(logging.INFO)
log.addHandler(logging.handlers.SysLogHandler(address=sys.argv[1], socktype=kind))
log.info("from Python")
log.info("error: no tag")
`
	for _, stream := range []bool{false, true} {
		m, path, _ := serve(t, Settings{Stream: stream, PID: true})
		kind := map[bool]string{true: "stream", false: "dgram"}[stream]
		var lines []string
		for _, c := range []struct {
			name string
			args []string
			want []string
		}{
			{"logger", []string{"-u", path, "-t", "app", "from logger"}, []string{"app[%d]: from logger"}},
			{"logger", []string{"-u", path, "-t", "app", "-i", "--socket-errors=on", "with: colons [1]"}, []string{"app[%d]: with: colons [1]"}},
			{"python3", []string{"-c", python, path, kind}, []string{"log[%d]: from Python", "log[%d]: error: no tag"}},
		} {
			program, err := exec.LookPath(c.name)
			if err != nil {
				t.Skipf("no %s: %v", c.name, err)
			}
			cmd := exec.Command(program, c.args...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", c.name, err, out)
			}
			for _, w := range c.want {
				lines = append(lines, fmt.Sprintf(w, cmd.ProcessState.Pid()))
			}
		}
		want(t, m, lines...)
	}
}
