package collector

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// testMember is a collector of a cluster, in the process of the test.
type testMember struct {
	config string
	state  string
	stop   context.CancelFunc
	done   chan error
}

const testPartitions = 4

// startTestMember starts a member, or starts it again.
func startTestMember(t *testing.T, s *natstest.Server, dir string) *testMember {
	t.Helper()
	m := &testMember{config: filepath.Join(dir, "collector.toml"), state: filepath.Join(dir, "state"), done: make(chan error, 1)}
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\nsync = \"none\"\n[collector.work]\n"+
		"listen = \"127.0.0.1:0\"\n[collector.cluster]\nurl = %q\nname = \"LOGS\"\npartitions = %d\ntakeover_after = \"2s\"\n"+
		"create = true\nsubjects = [\"logs.>\"]\nrelay_names = [\"edge-*\"]\n", m.state, filepath.Join(dir, "logs", "{partition}", "all.log"), s.ClientURL(),
		testPartitions)
	m.start(t, text)
	return m
}

// start starts a collector with a configuration, until the test ends.
func (m *testMember) start(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func() (*settings, error) { return (&options{config: m.config}).load() }
	settings, err := load()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.done <- run(ctx, settings, load); close(m.done) }() // ends with ctx
	t.Cleanup(func() { m.end(t) })
}

func (m *testMember) end(t *testing.T) {
	t.Helper()
	m.stop()
	for err := range m.done {
		if err != nil {
			t.Error(err)
		}
	}
}

func (m *testMember) id(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.state, "member"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// ask asks the member.
func (m *testMember) ask(t *testing.T, method, path string, into any) {
	t.Helper()
	if err := ask(t.Context(), m.state, method, path, into); err != nil {
		t.Fatal(err)
	}
}

// ledger is what workers have had.
type ledger struct {
	mu       sync.Mutex
	lines    map[string]int // how often each came
	last     map[string]int // of each source: the number of the line that came last
	given    map[ledgerKey][]string
	accepted map[string]bool // lines of which a worker was told that its answer is accepted
	again    []string        // lines that came again
	wrong    []string
	stop     func() // ends the workers
}

// ledgerKey is a delivery to one of the workers.
type ledgerKey struct {
	worker int
	n      uint64
}

// newLedger has workers that note the lines of a group.
func newLedger(t *testing.T, address, group string, workers int) *ledger {
	t.Helper()
	all := make([]worker.Worker, workers)
	for i := range all {
		all[i] = worker.Worker{Address: address, Options: protocol.Hello{Group: group, From: "start", Key: "source"}}
	}
	return ledgerOf(t, all)
}

// ledgerOf has workers run that note the lines which they have, after their own Handle, if they have one.
func ledgerOf(t *testing.T, workers []worker.Worker) *ledger {
	l := &ledger{lines: make(map[string]int), last: make(map[string]int), given: make(map[ledgerKey][]string),
		accepted: make(map[string]bool)}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i, w := range workers {
		before := w.Handle
		w.Handle = func(ctx context.Context, d *worker.Delivery) error {
			if before != nil {
				if err := before(ctx, d); err != nil {
					return err
				}
			}
			l.note(i, d)
			return nil
		}
		w.Accepted = func(n uint64, from, to int) { l.accept(ledgerKey{i, n}, from, to) }
		all.Go(func() { // ends with the test
			if err := w.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	l.stop = func() { stop(); all.Wait() }
	t.Cleanup(l.stop)
	return l
}

// note notes what came. A line may come again whose answer got lost with its connection, and then precedes
// those behind it; one that was accepted may not.
func (l *ledger) note(worker int, d *worker.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var given []string
	for _, x := range d.Lines() {
		_, text, ok := strings.Cut(string(x.Text), "line ")
		given = append(given, text) // "": a notice
		if !ok {
			continue
		}
		var source string
		var n int
		fmt.Sscan(text, &source, &n)
		last := l.last[source]
		if l.lines[text]++; l.lines[text] > 1 {
			l.again = append(l.again, fmt.Sprintf("%q came %d times, now at %s", text, l.lines[text], x.ID))
		}
		if l.accepted[text] {
			l.wrong = append(l.wrong, fmt.Sprintf("%q came again after it was accepted, at %s", text, x.ID))
		} else if n > last+1 {
			l.wrong = append(l.wrong, fmt.Sprintf("%q came behind %d, at %s", text, last, x.ID))
		}
		l.last[source] = n
	}
	l.given[ledgerKey{worker, d.N}] = given
}

// accept notes what was accepted of a delivery.
func (l *ledger) accept(k ledgerKey, from, to int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range l.given[k][from:to] {
		l.accepted[text] = true
	}
}

func (l *ledger) had() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// twice is how many lines came twice.
func (l *ledger) twice() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.lines {
		if times == 2 {
			n++
		}
	}
	return n
}

// check checks that each line came once, in the order of its source.
func (l *ledger) check(t *testing.T) {
	t.Helper()
	l.checkPromise(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range l.again {
		t.Error(text)
	}
}

// checkPromise checks that no line came again after it was accepted, and that lines came in the order of their
// source.
func (l *ledger) checkPromise(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range l.wrong {
		t.Error(text)
	}
}

// feed publishes numbered lines of several sources.
type feed struct {
	js jetstream.JetStream
	n  int
}

func newFeed(t *testing.T, nc *nats.Conn) *feed {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &feed{js: js}
}

const feedSources = 8

// send publishes n lines of each source.
func (f *feed) send(t *testing.T, n int) {
	t.Helper()
	for range n {
		f.n++
		for s := range feedSources {
			subject, text := fmt.Sprintf("logs.s%d", s), fmt.Sprintf("line s%d %d", s, f.n)
			waittest.Until(t, "the stream to take a line", func() bool {
				_, err := f.js.Publish(t.Context(), subject, []byte(text), jetstream.WithMsgID(text))
				return err == nil
			})
		}
	}
}

// shared waits until each of the members owns a share.
func shared(t *testing.T, m *testMember, want ...int) {
	t.Helper()
	waittest.UntilEqual(t, "the shares", fmt.Sprint(want), func() string {
		var st struct {
			Partitions []struct{ Owner string }
			Members    []struct{ ID string }
		}
		if ask(t.Context(), m.state, "GET", "/cluster", &st) != nil {
			return ""
		}
		count := make(map[string]int)
		for _, p := range st.Partitions {
			count[p.Owner]++
		}
		var all []int
		for _, n := range count {
			all = append(all, n)
		}
		for i := range all {
			for j := range i {
				if all[j] < all[i] {
					all[i], all[j] = all[j], all[i]
				}
			}
		}
		return fmt.Sprint(all)
	})
}

// workAddress waits until the member says where workers connect.
func (m *testMember) workAddress(t *testing.T) (address string) {
	t.Helper()
	waittest.Until(t, "the address for workers", func() bool {
		var st struct {
			Members []struct{ ID, Work string }
		}
		if ask(t.Context(), m.state, "GET", "/cluster", &st) != nil {
			return false
		}
		for _, p := range st.Members {
			if p.ID == m.id(t) {
				address = p.Work
			}
		}
		return address != ""
	})
	return address
}

// Workers of a cluster get each line once, in the order of its source, from whichever collectors own the
// partitions: while these are spread anew, and when a collector stops and comes back.
func TestWorkersOfCluster(t *testing.T) {
	s, dir := natstest.New(t), t.TempDir()
	place := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o750); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := startTestMember(t, s, place("a"))
	shared(t, a, 4)
	f := newFeed(t, s.Connect())
	f.send(t, 20)
	l := newLedger(t, a.workAddress(t), "mail", 3)
	waittest.UntilEqual(t, "the lines of one member", feedSources*f.n, l.had)
	b := startTestMember(t, s, place("b"))
	f.send(t, 20)
	shared(t, a, 2, 2)
	f.send(t, 20)
	waittest.UntilEqual(t, "the lines of two members", feedSources*f.n, l.had)
	c := startTestMember(t, s, place("c"))
	shared(t, a, 2, 1, 1)
	f.send(t, 20)
	waittest.UntilEqual(t, "the lines of three members", feedSources*f.n, l.had)
	for range 3 {
		f.send(t, 5)
		for p := range testPartitions {
			a.ask(t, "POST", fmt.Sprintf("/cluster/move?partition=%d&to=%s", p, []*testMember{a, b, c}[p%3].id(t)), nil)
		}
		f.send(t, 5)
		for p := range testPartitions {
			a.ask(t, "POST", fmt.Sprintf("/cluster/move?partition=%d&to=%s", p, []*testMember{a, b, c}[(p+1)%3].id(t)), nil)
		}
		f.send(t, 5)
	}
	waittest.UntilEqual(t, "the lines of moved partitions", feedSources*f.n, l.had)
	b.end(t)
	f.send(t, 20)
	startTestMember(t, s, place("b"))
	waittest.UntilEqual(t, "the lines when a member was away", feedSources*f.n, l.had)
	time.Sleep(300 * time.Millisecond)
	l.check(t)
	var groups []clusterGroup
	waittest.UntilEqual(t, "the groups of all members", "mail 3 0", func() string {
		groups = nil
		if a.ask(t, "GET", "/groups", &groups); len(groups) != 1 {
			return fmt.Sprint(groups)
		}
		waits := 0
		for _, p := range groups[0].Partitions {
			waits += len(p.Waits)
		}
		return fmt.Sprint(groups[0].Group, " ", groups[0].Workers, " ", waits)
	})
	replayed := newLedger(t, a.workAddress(t), "again", 1)
	waittest.UntilEqual(t, "the lines of another group", feedSources*f.n, replayed.had)
	a.ask(t, "POST", "/replay?group=again&from=start", nil)
	waittest.Until(t, "the lines to come again", func() bool { return replayed.twice() == feedSources*f.n })
	replayed.stop() // else they make it anew
	a.ask(t, "POST", "/forget?group=again", nil)
	waittest.Until(t, "the group to be forgotten", func() bool {
		groups = nil
		a.ask(t, "GET", "/groups", &groups)
		return len(groups) == 1 && groups[0].Group == "mail"
	})
}
