package distribute

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// bench is a log with a distributor, as a collector has them.
type bench struct {
	t    *testing.T
	sink *sink.Sink
	dist *Distributor
	addr string
	down func()
}

// open opens both at a path, so that a test can open them again.
func open(t *testing.T, path string, s *sink.Sink, settings Settings) *bench {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s.Path, s.Log, s.Host = path, log, "here"
	settings.Log, settings.Retry = log, cmp.Or(settings.Retry, time.Millisecond)
	d := New(s, settings)
	s.Retention.AwaitConsumers = true
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := d.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(ln) }() // ends by Shutdown
	b := &bench{t: t, sink: s, dist: d, addr: ln.Addr().String()}
	b.down = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; err != ErrClosed {
			t.Errorf("Serve returned %v", err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(b.down)
	return b
}

func openNew(t *testing.T, settings Settings) *bench {
	return open(t, filepath.Join(t.TempDir(), "all.log"), &sink.Sink{Sync: "none", Retention: sink.RetentionPolicy{Compress: "none"}}, settings)
}

// put appends lines from a host and a source.
func (b *bench) put(host, source string, lines ...string) {
	b.t.Helper()
	err := b.sink.Append(context.Background(), wire.Batch{Host: host, Source: source, Input: "tcp", Time: time.Now().UnixMicro(),
		Text: []byte(strings.Join(lines, "\n") + "\n")})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) putMany(from, to int) {
	for i := from; i < to; i += 100 {
		var lines []string
		for j := i; j < min(i+100, to); j++ {
			lines = append(lines, fmt.Sprintf("line %d", j))
		}
		b.put("web", "app", lines...)
	}
}

// work runs a worker until stop is called.
func (b *bench) work(w *worker.Worker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	w.Address = b.addr
	var running sync.WaitGroup
	running.Go(func() { // ends by stop
		if err := w.Run(ctx); err != nil {
			b.t.Errorf("worker: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	b.t.Cleanup(stop)
	return stop
}

// tally records what workers received.
type tally struct {
	mu    sync.Mutex
	got   []string // bodies, in the order they came
	ids   map[worker.ID]int
	times int
}

func (l *tally) note(b *bench, d *worker.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids = make(map[worker.ID]int)
	}
	for _, line := range d.Lines() {
		l.got = append(l.got, string(b.sink.Parts(line.Text).Body))
		l.ids[line.ID]++
	}
	l.times++
}

func (l *tally) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.got...)
}

// wait waits until ok, and prints the groups and workers if it fails.
func (b *bench) wait(what string, ok func() bool) {
	b.t.Helper()
	defer func() {
		if b.t.Failed() {
			st, err := b.dist.Groups(context.Background())
			b.t.Logf("groups %+v %v; workers %+v", st, err, b.dist.Workers())
		}
	}()
	waittest.Until(b.t, what, ok)
}

func (b *bench) group(name string) GroupStatus {
	b.t.Helper()
	all, err := b.dist.Groups(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, g := range all {
		if g.Group == name {
			return g
		}
	}
	return GroupStatus{}
}

// done waits until a group has finished all lines. An ack comes before its lines can be
// read; after the checkpoint they can.
func (b *bench) done(name string) GroupStatus {
	b.t.Helper()
	if err := b.sink.Checkpoint(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	b.wait("group "+name, func() bool {
		g := b.group(name)
		return g.Group != "" && g.LagLines == 0 && g.Position == b.sink.End().String()
	})
	return b.group(name)
}

// expect compares lines with "line 0" to "line n-1", each once, in any order.
func expect(t *testing.T, got []string, n int) {
	t.Helper()
	seen := make(map[string]int)
	for _, s := range got {
		seen[s]++
	}
	for i := range n {
		if k := seen[fmt.Sprintf("line %d", i)]; k != 1 {
			t.Fatalf("line %d was had %d times", i, k)
		}
	}
	if len(seen) != n {
		t.Fatalf("%d different lines, want %d", len(seen), n)
	}
}

// TestShare: each line goes to one of a group's workers, and every group gets
// every line, over rotations.
func TestShare(t *testing.T) {
	b := openNew(t, Settings{})
	const n = 5000
	var one, two tally
	busy := make([]tally, 4)
	for i := range busy {
		b.work(&worker.Worker{Options: protocol.Hello{Group: "one", From: "start", Credit: 64}, Handle: func(_ context.Context, d *worker.Delivery) error {
			one.note(b, d)
			busy[i].note(b, d)
			return nil
		}})
	}
	b.work(&worker.Worker{Options: protocol.Hello{Group: "two", From: "start"}, Handle: func(_ context.Context, d *worker.Delivery) error {
		two.note(b, d)
		return nil
	}})
	for i := 0; i < n; i += 1000 {
		b.putMany(i, i+1000)
		if _, err := b.sink.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if g := b.done("one"); g.Accepted != n || g.Redelivered != 0 {
		t.Errorf("group one: %+v", g)
	}
	b.done("two")
	expect(t, one.lines(), n)
	expect(t, two.lines(), n)
	for i := range busy {
		if len(busy[i].lines()) < n/40 {
			t.Errorf("worker %d had %d lines of %d", i, len(busy[i].lines()), n)
		}
	}
	for i, line := range two.lines() {
		if line != fmt.Sprintf("line %d", i) {
			t.Fatalf("the only worker of a group got %q as line %d", line, i)
		}
	}
}
