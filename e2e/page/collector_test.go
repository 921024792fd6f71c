// Package page has the tests of the collector's web page in a real browser. It is a module
// of its own, since the driver of the browser is large. Without Chromium nothing runs, and
// each test says so.
package page

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is no pace: what happens
// sooner is seen sooner.
var patience = flag.Duration("patience", 4*time.Minute, "how long to wait for what must happen")

// programs builds both programs, once, and returns their directory.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fanin-page")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"collector", "agent"} {
		c := exec.Command("go", "build", "-o", filepath.Join(dir, "fanin-"+name), "./cmd/"+name)
		c.Dir = filepath.Join("..", "..")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build the %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
})

// collector is a running collector. It keeps its addresses over its lives.
type collector struct {
	t         *testing.T
	dir       string
	tcp, http string // addresses
	cmd       *exec.Cmd
}

// newCollector starts a collector that takes syslog with hosts of its own; more are lines of
// the table [collector.log].
func newCollector(t *testing.T, more string) *collector {
	t.Helper()
	c := configure(t, t.TempDir(), more)
	c.start()
	return c
}

// configure makes the configuration of a collector in a directory, which may have a log.
func configure(t *testing.T, dir, more string) *collector {
	t.Helper()
	c := &collector{t: t, dir: dir, tcp: freePort(t), http: freePort(t)}
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\nsync = \"none\"\n%s\n"+
		"[[collector.tcp]]\nlisten = %q\ntrust_host = true\n[collector.http]\nlisten = %q\n",
		filepath.Join(c.dir, "state"), filepath.Join(c.dir, "all.log"), more, c.tcp, c.http)
	if err := os.WriteFile(filepath.Join(c.dir, "collector.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// append appends lines to the configuration: they are of [collector.http].
func (c *collector) append(text string) {
	c.t.Helper()
	f, err := os.OpenFile(filepath.Join(c.dir, "collector.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (c *collector) start() {
	c.t.Helper()
	dir, err := programs()
	if err != nil {
		c.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "collector.out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.cmd = exec.Command(filepath.Join(dir, "fanin-collector"), "--config", filepath.Join(c.dir, "collector.toml"))
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	wait(c.t, "the collector answers", func() bool {
		_, err := c.get("/healthz")
		return err == nil
	})
}

// kill is kill -9.
func (c *collector) kill() {
	if c.cmd != nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
		c.cmd = nil
	}
}

// stop has the collector finish and end.
func (c *collector) stop() {
	c.t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM)
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
	c.cmd = nil
}

func (c *collector) get(path string) (string, error) {
	resp, err := http.Get("http://" + c.http + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// has reports whether the log has lines with this text, and answers them.
func (c *collector) has(text string) string {
	b, err := c.get("/tail?from=start&follow=0&include=" + url.QueryEscape(text))
	if err != nil {
		return ""
	}
	return b
}

// send sends lines over a connection of its own. Connections overtake each other in the log.
func (c *collector) send(lines ...string) {
	c.t.Helper()
	send, end := c.connect()
	defer end()
	send(lines...)
}

// connect opens a connection, whose lines stay in order.
func (c *collector) connect() (send func(lines ...string), end func()) {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.tcp)
	if err != nil {
		c.t.Fatal(err)
	}
	w := bufio.NewWriter(conn)
	return func(lines ...string) {
		for _, line := range lines {
			fmt.Fprintf(w, "%s\n", line)
		}
		if err := w.Flush(); err != nil {
			c.t.Fatal(err)
		}
	}, func() { conn.Close() }
}

// syslog is a message in the form of RFC 5424, without its time.
func syslog(host, source, text string) string {
	return fmt.Sprintf("<134>1 - %s %s - - - %s", host, source, text)
}

func wait(t *testing.T, what string, f func() bool, explain ...func() string) {
	t.Helper()
	for end := time.Now().Add(*patience); !f(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			for _, f := range explain {
				t.Log(f())
			}
			t.Fatalf("never: %s", what)
		}
	}
}

// numbered are lines "line N" from a number on.
func numbered(from, n int) (lines []string) {
	for i := from; i < from+n; i++ {
		lines = append(lines, syslog(fmt.Sprintf("web-%d", i%3), []string{"nginx", "app", "sshd"}[i%3], fmt.Sprintf("line %07d", i)))
	}
	return lines
}
