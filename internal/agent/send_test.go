package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/daemon"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// collect serves a Memory over TCP.
func collect(t *testing.T) (m *appendertest.Memory, addr string) { return collectTLS(t, nil, nil) }

func collectTLS(t *testing.T, config *tls.Config, log *slog.Logger) (m *appendertest.Memory, addr string) {
	t.Helper()
	m = &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	s := &ingesttest.TCP{Out: m, Welcome: m.Welcome, TLS: config, Log: log}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }() // ends by Shutdown
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		s.Shutdown(ctx)
		<-served
	})
	return m, ln.Addr().String()
}

// texts is all that a Memory has.
func texts(m *appendertest.Memory) (all string) {
	for _, b := range m.Kept() {
		all += string(b.Text)
	}
	return all
}

// sendFiles runs the command `send`; it must end by itself.
func sendFiles(t *testing.T, addr, state string, args ...string) (code int, text string) {
	t.Helper()
	c := Command()
	c.SetArgs(append([]string{"send", "--to", addr, "--id", "a", "--state", state}, args...))
	outcome := make(chan error, 1)
	go func() { outcome <- c.Execute() }() // waited for below
	select {
	case err := <-outcome:
		if err != nil {
			text = err.Error()
		}
		return daemon.Code(err), text
	case <-time.After(20 * time.Second):
		t.Fatalf("send %q hangs", args)
		return 0, ""
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSendLastLine: every byte is committed, also of a last line without a newline; what
// was sent is not sent again.
func TestSendLastLine(t *testing.T) {
	m, addr := collect(t)
	dir, state := t.TempDir(), t.TempDir()
	path := write(t, filepath.Join(dir, "a.log"), "one\ntwo")
	empty := write(t, filepath.Join(dir, "empty.log"), "")
	for range 2 {
		if code, text := sendFiles(t, addr, state, path, empty); code != 0 {
			t.Fatalf("exit %d: %s", code, text)
		}
		if got := texts(m); got != "one\ntwo\n" {
			t.Fatalf("committed %q", got)
		}
	}
	write(t, path, "one\ntwo and more\nthree")
	if code, text := sendFiles(t, addr, state, path); code != 0 {
		t.Fatalf("exit %d: %s", code, text)
	}
	if got, want := texts(m), "one\ntwo\n"+wire.SplitGoesOn+" and more\nthree\n"; got != want {
		t.Errorf("committed %q, want %q", got, want)
	}
}

// TestSendChanged: a file that has other content than what was sent of it is sent, though
// it is as long as before.
func TestSendChanged(t *testing.T) {
	m, addr := collect(t)
	path, state := filepath.Join(t.TempDir(), "a.log"), t.TempDir()
	m.Before = func(context.Context, wire.Batch) error {
		time.Sleep(100 * time.Millisecond) // what a mark says is looked at several times meanwhile
		return nil
	}
	for _, text := range []string{"first content\n", "other content\n"} {
		write(t, path, text)
		if code, text := sendFiles(t, addr, state, path); code != 0 {
			t.Fatalf("exit %d: %s", code, text)
		}
	}
	if got := texts(m); got != "first content\nother content\n" {
		t.Errorf("committed %q", got)
	}
}

// TestSendNames: a file is sent once whatever it is called, and a name is not a pattern.
func TestSendNames(t *testing.T) {
	m, addr := collect(t)
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, `x[1]*?\y.log`), "one\n")
	write(t, filepath.Join(dir, "x1.log"), "not this one\n")
	hard, soft := filepath.Join(dir, "hard.log"), filepath.Join(dir, "soft.log")
	if err := os.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, soft); err != nil {
		t.Fatal(err)
	}
	if code, text := sendFiles(t, addr, t.TempDir(), path, hard, soft, path); code != 0 {
		t.Fatalf("exit %d: %s", code, text)
	}
	if got := texts(m); got != "one\n" {
		t.Errorf("committed %q", got)
	}
}

// TestSendRefuses: what cannot be sent whole is refused before anything is sent, each with
// its reason, all in one message.
func TestSendRefuses(t *testing.T) {
	m, addr := collect(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	good := write(t, at("good.log"), "good\n")
	write(t, at("a.log.xz"), "\xfd7zXZ\x00")
	write(t, at("a.tar.log"), strings.Repeat("name", 60)+strings.Repeat("\x00", 17)+"ustar\x00")
	if err := syscall.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("nothing"), at("dangling")); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	words := map[string]string{
		at("a.tar.log"): "a tar archive", at("a.log.xz"): "is compressed", at("fifo"): "not a regular file but a pipe",
		at("dangling"): "no such file", at("socket"): "a socket", at("missing.log"): "no such file", "-": "standard input", "/dev/null": "a device",
	}
	if _, err := os.Stat("/proc/self/status"); err == nil {
		words["/proc/self/status"] = "is generated by the system each time it is read"
	}
	args := []string{good}
	t.Chdir(dir)
	for path := range words {
		args = append(args, path)
	}
	code, text := sendFiles(t, addr, t.TempDir(), args...)
	if code != daemon.ExitUsage {
		t.Errorf("exit %d, want %d", code, daemon.ExitUsage)
	}
	for path, word := range words {
		said := ""
		for line := range strings.Lines(text) {
			if strings.Contains(line, path+" ") || strings.Contains(line, path+":") {
				said += line
			}
		}
		if !strings.Contains(said, word) {
			t.Errorf("of %s it says %q, want %q", path, said, word)
		}
	}
	if got := texts(m); got != "" {
		t.Errorf("committed %q", got)
	}
}

// TestSendGivesUp: it ends by itself when nothing goes on, and says what it waited for.
func TestSendGivesUp(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "a.log"), "one\n")
	closed := nowhere(t)
	code, text := sendFiles(t, closed, t.TempDir(), "--wait", "300ms", path)
	if code != daemon.ExitUnreachable || !strings.Contains(text, "connection refused") {
		t.Errorf("without a collector: exit %d: %s", code, text)
	}

	m, addr := collect(t)
	m.Before = func(ctx context.Context, b wire.Batch) error {
		if b.Op == wire.OpOpen {
			return nil
		}
		<-ctx.Done() // the disk is full
		return ctx.Err()
	}
	code, text = sendFiles(t, addr, t.TempDir(), "--wait", "300ms", path)
	if code != daemon.ExitLater || strings.Contains(text, "connect") || !strings.Contains(text, path+": 0 of 4 bytes are committed") {
		t.Errorf("with a collector that takes nothing: exit %d: %s", code, text)
	}

	m, addr = collect(t)
	m.Before = func(_ context.Context, b wire.Batch) error {
		if b.Op == wire.OpOpen {
			return nil
		}
		return &wire.Refused{Reason: "not today"}
	}
	code, text = sendFiles(t, addr, t.TempDir(), "--wait", "300ms", path)
	if code != daemon.ExitLater || !strings.Contains(text, "not today") {
		t.Errorf("refused: exit %d: %s", code, text)
	}
}

// TestSendEmpty: an empty file is committed, also if an earlier send sent another file, and nothing is
// said of a file that was sent and removed.
func TestSendEmpty(t *testing.T) {
	_, addr := collect(t)
	dir, state := t.TempDir(), t.TempDir()
	first, empty := write(t, filepath.Join(dir, "a.log"), "one\n"), write(t, filepath.Join(dir, "b.log"), "")
	if code, text := sendFiles(t, addr, state, first); code != 0 {
		t.Fatalf("exit %d: %s", code, text)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if code, text := sendFiles(t, addr, state, "--wait", "3s", empty); code != 0 {
		t.Errorf("exit %d: %s", code, text)
	}
}
