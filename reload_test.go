package fanin_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanin/ingest/relp/relptest"
	"fanin/internal/freeport"
	"fanin/internal/waittest"
)

// reloaded is a collector whose configuration a test changes, while senders send.
type reloaded struct {
	t         *testing.T
	dir       string
	addresses []string // tcp, udp, relp, another one, one that is busy
	collector *process
	stop      chan struct{}
	sending   sync.WaitGroup
	mu        sync.Mutex
	sent      map[string]int
}

func newReloaded(t *testing.T) *reloaded {
	r := &reloaded{t: t, dir: t.TempDir(), stop: make(chan struct{}), sent: make(map[string]int)}
	ports, err := freeport.Find(5)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		r.addresses = append(r.addresses, fmt.Sprintf("127.0.0.1:%d", port))
	}
	busy, err := net.Listen("tcp", r.addresses[4])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	r.configure(0)
	r.run()
	return r
}

func (r *reloaded) at(name string) string { return filepath.Join(r.dir, name) }

// configure writes the n-th configuration, and returns what the collector says of it.
func (r *reloaded) configure(n int) (says string) {
	table := func(kind string, i int, more string) string {
		return fmt.Sprintf("[[collector.%s]]\nlisten = %q\n%s\n", kind, r.addresses[i], more)
	}
	source := fmt.Sprintf("source = \"s%d\"", n%3)
	tcp, udp, relp := table("tcp", 0, source), table("udp", 1, source), table("relp", 2, "")
	says = "the new configuration is in force|the configuration is unchanged"
	tables := tcp + udp + relp
	switch n % 8 {
	case 1: // RELP goes
		tables = tcp + udp
	case 2: // others come, and RELP again
		tables = relp + table("tcp", 3, "") + tcp + table("udp", 3, "") + udp
	case 3: // only datagrams change
		tables = table("tcp", 0, "source = \"s2\"") + table("udp", 1, "queue = \"8MiB\"") + relp
	case 4:
		tables, says = tables+table("gelf", 3, "network = \"both\"")+table("relp", 4, ""), "cannot be used now"
	case 5:
		tables, says = tables+"[[collector.tcp]", "has mistakes"
	case 6:
		tables = tcp + udp + table("relp", 2, source+"\nwindow = 64") + "[collector.http]\nlisten = \"" + r.addresses[3] + "\"\n"
	}
	text := fmt.Sprintf("[collector.log]\npath = %q\nsync = \"none\"\nkeep_files = %d\n%s", r.at("all.log"), n%4, tables)
	if err := os.WriteFile(r.at("collector.toml"), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return says
}

func (r *reloaded) run() {
	r.collector = start(r.t, exec.Command(filepath.Join(programDir(r.t), "fanin-collector"), "--config", r.at("collector.toml")))
	r.collector.wait("^writing ")
}

// send calls next with the numbers of lines, until the test ends.
func (r *reloaded) send(name string, next func(text string) bool) {
	r.sending.Go(func() { // ends by stop
		for n := 0; ; {
			select {
			case <-r.stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if next(fmt.Sprintf("line %d of %s", n, name)) {
				n++
				r.mu.Lock()
				r.sent[name] = n
				r.mu.Unlock()
			}
		}
	})
}

// progress waits until more was sent.
func (r *reloaded) progress(names ...string) {
	r.t.Helper()
	now := func(name string) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.sent[name]
	}
	for _, name := range names {
		before := now(name)
		waittest.Until(r.t, "lines of "+name, func() bool { return now(name) >= before+5 })
	}
}

// agent follows a file that grows.
func (r *reloaded) agent() {
	r.send("agent", func(text string) bool { appendFile(r.t, r.at("app.txt"), text+"\n"); return true })
	text := fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://%s\"]\n[[agent.file]]\npaths = [%q]\n", r.at("agent"), r.addresses[0], r.at("app.txt"))
	if err := os.WriteFile(r.at("agent.toml"), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	start(r.t, exec.Command(filepath.Join(programDir(r.t), "fanin-agent"), "--config", r.at("agent.toml")))
}

// relp holds what was not acknowledged, and sends it again.
func (r *reloaded) relp() (settle func()) {
	c := &relptest.Client{Address: r.addresses[2], Window: 16}
	connected := false
	reopen := func() bool {
		if c.Conn != nil {
			c.Conn.Close()
		}
		connected = c.Open() == nil
		return connected
	}
	r.send("relp", func(text string) bool {
		if !connected && !reopen() {
			return false
		}
		connected = c.Send("<13>Oct 11 22:14:15 host app: "+text) == nil
		return true // it is held
	})
	return func() {
		for end := time.Now().Add(patience); (!connected || c.Settle() != nil) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			reopen()
		}
	}
}

// syslog sends over connections that each carry a hundred messages, and end when the collector has them.
func (r *reloaded) syslog() (settle func()) {
	var nc net.Conn
	left := 0
	end := func() {
		if nc == nil {
			return
		}
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, nc)
		nc.Close()
		nc = nil
	}
	r.send("tcp", func(text string) bool {
		if left == 0 {
			end()
			var err error
			if nc, err = net.Dial("tcp", r.addresses[0]); err != nil {
				r.t.Errorf("a connection is refused: %v", err)
				return false
			}
			left = 100
		}
		left--
		text = "<13>Oct 11 22:14:15 host app: " + text
		if _, err := fmt.Fprintf(nc, "%d %s", len(text), text); err != nil {
			r.t.Errorf("a connection ends: %v", err)
			left = 0
		}
		return true
	})
	return end
}

func (r *reloaded) datagrams() {
	conn, err := net.Dial("udp", r.addresses[1])
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	r.send("udp", func(text string) bool {
		if _, err := io.WriteString(conn, text); err != nil {
			r.t.Errorf("a datagram is refused: %v", err)
		}
		return true
	})
}

// check compares the log with what was sent.
func (r *reloaded) check() {
	for name, n := range r.sent {
		if n < 20 {
			r.t.Errorf("only %d lines of %s were sent", n, name)
		}
		awaitLine(r.t, r.at("all.log"), fmt.Sprintf("line %d of %s\n", n-1, name))
	}
	b, err := os.ReadFile(r.at("all.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	next := make(map[string]int)
	for _, m := range regexp.MustCompile(`line (\d+) of (\w+)\n`).FindAllStringSubmatch(string(b), -1) {
		if n, _ := strconv.Atoi(m[1]); n != next[m[2]] {
			r.t.Fatalf("line %d of %s comes where %d belongs", n, m[2], next[m[2]])
		}
		next[m[2]]++
	}
	for name, n := range r.sent {
		if next[name] != n {
			r.t.Errorf("%d lines of %s are in the log, and %d were sent", next[name], name, n)
		}
	}
}

// TestReloadsUnderLoad: while tables come, change and go, what agents, syslog over TCP, datagrams and
// RELP send is in the log once, in order; no connection and no datagram is refused.
func TestReloadsUnderLoad(t *testing.T) {
	r := newReloaded(t)
	r.agent()
	relp, syslog := r.relp(), r.syslog()
	r.datagrams()
	for i := range 50 {
		says := r.configure(i)
		r.collector.Process.Signal(syscall.SIGHUP)
		r.collector.wait(says)
		r.progress("tcp", "udp")
	}
	close(r.stop)
	r.sending.Wait()
	r.configure(0)
	r.collector.Process.Signal(syscall.SIGHUP)
	r.collector.wait("in force|unchanged")
	relp()
	syslog()
	r.check()
	if said := r.collector.said(); strings.Contains(said, "the kernel dropped datagrams") || strings.Contains(said, "unread in the socket") {
		t.Error("the collector lost something")
	}
	r.collector.stop()
}

// TestCollectorReloadsKilled: a collector that is killed in the middle of reloads has lost and doubled
// nothing of those that send again.
func TestCollectorReloadsKilled(t *testing.T) {
	r := newReloaded(t)
	r.agent()
	relp := r.relp()
	for i := range 24 {
		says := r.configure(i)
		r.collector.Process.Signal(syscall.SIGHUP)
		if i%4 < 3 {
			r.collector.wait(says)
			r.progress("agent")
			continue
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // anywhere in the reload
		r.collector.Process.Kill()
		<-r.collector.exited
		r.configure(i / 4 % 3)
		r.run()
	}
	close(r.stop)
	r.sending.Wait()
	r.configure(0)
	r.collector.Process.Signal(syscall.SIGHUP)
	r.collector.wait("in force|unchanged")
	relp()
	r.check()
	r.collector.stop()
}
