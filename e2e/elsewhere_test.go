package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/e2e/rig"
	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/wire"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// TestNothingElsewhere: whatever names others choose for themselves, their hosts,
// sources, groups and subjects, the collector writes, removes and even touches nothing
// outside the log's directory and its state.
func TestNothingElsewhere(t *testing.T) {
	root := t.TempDir()
	p := newPeers(t, root)
	before := snapshot(t, root)
	if err := p.collector.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.collector.Kill()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.collector.Output())
		}
	})

	var all sync.WaitGroup
	for i, name := range p.names {
		all.Go(func() { p.agent(t, i, name) }) // they end with the answers, or after a moment
		all.Go(func() { p.datagrams(t, i, name) })
		all.Go(func() { p.group(t, name) })
	}
	all.Wait()
	p.deadLetters(t)
	p.messages(t)
	p.arrived(t)
	for _, name := range p.names { // most are refused; what counts is what is done
		q := url.QueryEscape(name)
		for _, path := range []string{"/replay?from=start&group=" + q, "/forget?group=" + q, "/streams/give?from=web-1&to=" + q, "/streams/give?to=web-1&from=" + q, "/streams/forget?agent=" + q} {
			p.collector.Ask("POST", path, nil)
		}
	}
	for _, path := range []string{"/rotate", "/checkpoint"} {
		if err := p.collector.Ask("POST", path, nil); err != nil {
			t.Error(err)
		}
	}
	if code, err := p.collector.Stop(); code != 0 || err != nil {
		t.Errorf("the collector ended with %d, %v", code, err)
	}
	after := snapshot(t, root)
	for path, what := range before {
		if after[path] != what {
			t.Errorf("%s was %s, and is %q", path, what, after[path])
		}
	}
	for path, what := range after {
		if before[path] == "" {
			t.Errorf("%s came: %s", path, what)
		}
	}
}

// snapshot is all that lies outside the log's directory and its state. A directory in
// which anything was made and removed again has another time.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, _ := filepath.Rel(root, path); name == "here/log" || name == "here/state" {
			return fs.SkipDir
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(fi.Mode(), fi.ModTime())
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// peers are those that send to a collector, and what they call themselves.
type peers struct {
	collector  *rig.Collector
	work, nats string
	server     *natstest.Server
	names      []string
}

func newPeers(t *testing.T, root string) *peers {
	t.Helper()
	here := filepath.Join(root, "here")
	p := &peers{server: natstest.New(t), names: []string{"..", ".", "../victim", "../../victim", "../../../victim", "x/../../victim", "x/../../../victim", "x/../../../../victim",
		filepath.Join(root, "victim"), "file://" + filepath.Join(root, "victim"), "~/victim", `..\..\victim`, "..%2f..%2fvictim", "%2e%2e/%2e%2e/victim",
		"$(touch victim)", "`touch victim`", "; touch victim", "| touch victim", "-rf victim", "*", "../../victim\x00", "victim\n../../victim", strings.Repeat("../", 30) + root[1:] + "/victim"}}
	port, err := rig.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p.work = fmt.Sprintf("127.0.0.1:%d", port)
	nc := p.server.Connect()
	defer nc.Close()
	p.nats = nc.ConnectedUrl()
	p.collector, err = rig.NewCollector(programs.Collector, t.TempDir(), filepath.Join(here, "log"), fmt.Sprintf(`
[collector.work]
listen = %q
attempts = 1
retry = "1ms"
[[collector.nats]]
url = %q
subjects = ["logs.>"]
stream = "LOGS"
create = true
tail = "tail"
[collector.nats.work]
stream = "WORK"
group = "nats"
from = "start"
subject = "work"
create = true
`, p.work, p.nats))
	if err != nil {
		t.Fatal(err)
	}
	p.collector.State = filepath.Join(here, "state")
	for _, dir := range []string{"cwd", "home", "tmp", "here", "here/log", "here/state"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"", "cwd", "home", "tmp", "here"} { // what may be written over
		for _, name := range []string{"victim", "victim.jsonl", "victim.log", "victim.message"} {
			if err := os.WriteFile(filepath.Join(root, dir, name), []byte("mine\n"), 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.collector.Env = []string{"HOME=" + filepath.Join(root, "home"), "TMPDIR=" + filepath.Join(root, "tmp")}
	t.Chdir(filepath.Join(root, "cwd")) // where the collector starts, too
	return p
}

// moment is how long a peer waits for an answer that may never come.
const moment = 2 * time.Second

// agent is an agent over TCP: its id, its host, its source and what it says of its file.
func (p *peers) agent(t *testing.T, i int, name string) {
	for _, id := range []string{name, fmt.Sprint("agent-", i)} { // a bad id is refused; a good one's sources are looked at
		c, err := net.Dial("tcp", p.collector.Addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(moment))
		text := []byte("agent " + fmt.Sprint(i) + "\n")
		b := wire.Batch{Stream: wire.StreamID{1, byte(i)}, Epoch: 1, Source: name, Control: wire.Control{Identity: []byte(name)}, Time: time.Now().UnixMicro(),
			End: int64(len(text)), After: wire.TailHash(text), Text: text}
		open, end := b, b
		open.Op, open.End, open.Text, open.After = wire.OpOpen, 0, nil, 0
		end.Op, end.Offset, end.Before, end.Text = wire.OpEnd, b.End, b.After, nil
		d, f := wire.NewDecoder(c), wire.Frame{}
		c.Write(wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: id, Instance: wire.StreamID{2, byte(i)}, Run: 1, Host: name, Software: name}))
		for _, x := range []*wire.Batch{&open, &b, &end} {
			c.Write(append(wire.AppendBatch(nil, x, 0, x.Text), x.Text...))
			for f = (wire.Frame{}); d.Next(&f) == nil && f.Kind != wire.KindFault && f.Answer.Stream != b.Stream; f = (wire.Frame{}) {
			}
		}
	}
}

// datagrams are an agent's, and syslog's; and a line of syslog over TCP.
func (p *peers) datagrams(t *testing.T, i int, name string) {
	text := []byte(fmt.Sprintf("datagram %d\n", i))
	line := fmt.Sprintf("<13>1 2026-11-25T10:00:00Z %s %s %s - - syslog %d\n", name, name, name, i)
	lossy := func(id string) []byte {
		return wire.AppendLossy(nil, &wire.Batch{Agent: id, Host: name, Source: name, Stream: wire.StreamID{3, byte(i)}, Epoch: 1, End: int64(len(text)), Time: 1, Text: text})
	}
	for _, x := range []struct {
		network string
		data    []byte
	}{{"udp", lossy(name)}, {"udp", lossy(fmt.Sprint("agent-", i))}, {"udp", []byte(line)}, {"tcp", []byte(line)}} {
		c, err := net.Dial(x.network, p.collector.Addr)
		if err != nil {
			t.Error(err)
			return
		}
		c.Write(x.data)
		c.Close()
	}
}

// group is a worker of a group of that name. Should there be one, its lines become dead
// letters.
func (p *peers) group(t *testing.T, name string) {
	c, err := net.Dial("tcp", p.work)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(moment))
	c.Write(protocol.AppendHello(nil, &protocol.Hello{Group: name, Name: name, From: "start", Credit: 10}))
	answer := make([]byte, 1<<10)
	if n, _ := c.Read(answer); !bytes.Contains(answer[:n], []byte("fault")) {
		ctx, cancel := context.WithTimeout(t.Context(), moment)
		defer cancel()
		p.fail(ctx, name, name)
	}
}

// fail is a worker that can do no line, until ctx ends.
func (p *peers) fail(ctx context.Context, group, name string) {
	w := worker.Worker{Address: p.work, Options: protocol.Hello{Group: group, Name: name, From: "start"},
		Handle: func(context.Context, *worker.Delivery) error { return fmt.Errorf("%s", name) }}
	w.Run(ctx)
}

// deadLetters waits for a dead letter with the name of a worker, and a reason.
func (p *peers) deadLetters(t *testing.T) {
	name := p.names[3]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go p.fail(ctx, "mail", name) // ends with ctx
	path := filepath.Join(p.collector.State, "work", "dead-mail.jsonl")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(name)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no line became a dead letter: %v", err)
		}
	}
}

// messages come over NATS: plain ones, and an agent's that cannot be taken.
func (p *peers) messages(t *testing.T) {
	nc := p.server.Connect()
	defer nc.Close()
	subjects := natsconn.Subjects("fanin")
	for i, name := range p.names {
		if strings.ContainsAny(name, " \n\x00*") {
			continue // in no subject
		}
		hello := wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: name, Instance: wire.StreamID{4, byte(i)}, Run: 1, Host: name})
		if err := nc.Publish(subjects.Hello(name), hello); err != nil {
			t.Error(err)
		}
		stored(t, nc, "logs."+strings.ReplaceAll(name, ".", "/"), fmt.Appendf(nil, "message %d", i))
		stored(t, nc, subjects.Batch(name), append(hello, "no batch"...))
	}
}

// stored publishes what a stream takes. The collector may have yet to make it.
func stored(t *testing.T, nc *nats.Conn, subject string, data []byte) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		m, err := nc.Request(subject, data, moment)
		if err == nil && bytes.Contains(m.Data, []byte(`"seq"`)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no stream takes %s: %v", subject, err)
		}
	}
}

// arrived waits until the names came as far as they can: else nothing is tested.
func (p *peers) arrived(t *testing.T) {
	t.Helper()
	read := func() (text []byte, refused int) {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(p.collector.Log), "all*.log"))
		for _, path := range files {
			b, _ := os.ReadFile(path)
			text = append(text, b...)
		}
		kept, _ := os.ReadDir(filepath.Join(p.collector.State, "refused"))
		return text, len(kept)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, refused := read()
		missing := slices.DeleteFunc([]string{": agent 3\n", ": datagram 3\n", " syslog 3\n", ": message 3\n", "../../victim"}, func(s string) bool { return bytes.Contains(text, []byte(s)) })
		if len(missing) == 0 && refused > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no line has any of %q, and %d messages were refused and kept: it was not tested; the log is\n%s", missing, refused, text)
		}
	}
}
