package redis

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// house is a log with its work distributor, and an output of it.
type house struct {
	t      *testing.T
	dir    string
	server *redistest.Server
	out    *Output // the one that runs, or ran last
	sink   *sink.Sink
	work   *distribute.Distributor
	stop   func() // the output
	close  func() // the output and the log
	lines  []string
	files  int // of the log that retention keeps, besides the last one; 0: all
}

// lease is short, so that it ends while a server is away.
const lease = time.Second

// open opens a log at a directory, and runs an output into the server.
func open(t *testing.T, dir string, server *redistest.Server, change ...func(*Output)) *house {
	t.Helper()
	h := &house{t: t, dir: dir, server: server}
	h.open()
	h.carry(change...)
	return h
}

func (h *house) open() {
	h.t.Helper()
	h.sink = &sink.Sink{Path: filepath.Join(h.dir, "all.log"), Host: "here", Sync: "none"}
	h.work = distribute.New(h.sink, distribute.Settings{Retry: time.Millisecond, Attempts: 3, Lease: lease})
	h.sink.Retention.AwaitConsumers, h.sink.Retention.Files, h.sink.Retention.Compress = true, h.files, "none"
	for _, f := range []func(context.Context) error{h.sink.Open, h.work.Open} {
		if err := f(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
	k, d := h.sink, h.work
	h.stop = func() {}
	h.close = sync.OnceFunc(func() {
		h.stop()
		d.Shutdown(context.Background())
		k.Close(context.Background())
	})
	h.t.Cleanup(h.close)
}

// carry runs an output until stop.
func (h *house) carry(change ...func(*Output)) {
	h.t.Helper()
	joined := make(chan struct{})
	client := h.server.Client()
	client.Timeout = 2 * time.Second
	o := &Output{Sink: h.sink, Work: h.work, Server: client, Stream: "fanin", From: "start",
		Joined: sync.OnceFunc(func() { close(joined) })}
	for _, f := range change {
		f(o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ended by stop
		defer close(done)
		if err := o.Run(ctx); err != nil {
			h.t.Errorf("the output ended with %v", err)
		}
	}()
	<-joined
	h.out, h.stop = o, sync.OnceFunc(func() { cancel(); <-done })
}

// toList has an output append to a list.
func toList(o *Output) { o.Stream, o.List = "", "fanin" }

// both runs a test with an output to a stream, and with one to a list.
func both(t *testing.T, test func(t *testing.T, change func(*Output))) {
	t.Run("stream", func(t *testing.T) { test(t, func(*Output) {}) })
	t.Run("list", func(t *testing.T) { test(t, toList) })
}

// put appends lines to the log, which are numbered.
func (h *house) put(n int) {
	h.t.Helper()
	var text strings.Builder
	for range n {
		line := fmt.Sprintf("line %d", len(h.lines))
		h.lines = append(h.lines, line)
		text.WriteString(line + "\n")
	}
	if n > 0 {
		h.append(text.String())
	}
}

func (h *house) append(text string) {
	h.t.Helper()
	b := wire.Batch{Host: "web.example.com", Source: "nginx", Input: "tcp", Time: time.Now().UnixMicro(), Text: []byte(text)}
	if err := h.sink.Append(h.t.Context(), b); err != nil {
		h.t.Fatal(err)
	}
}

// stored are the lines at the server, in order, without the log's own.
func (h *house) stored() (list []string) {
	h.t.Helper()
	var all []string
	if h.out.List != "" {
		all = strings.Split(h.server.Do("LRANGE", h.out.List, "0", "-1"), "\n")
	} else {
		all = strings.Split(h.server.Do("XRANGE", h.out.Stream, "-", "+"), "\n")
	}
	for _, text := range all {
		if i := strings.Index(text, "line "); i >= 0 && !strings.Contains(text, "RESENT") {
			list = append(list, text[i:])
		}
	}
	return list
}

// want waits until the server has lines, and checks that they are these.
func (h *house) want(lines []string) {
	h.t.Helper()
	defer func() {
		if h.t.Failed() {
			h.t.Logf("trouble %q, counts %+v, %d stored of %d", h.out.Trouble(), h.out.loop.Counts(), len(h.stored()), len(lines))
		}
	}()
	waittest.Until(h.t, "all lines at the server", func() bool { return len(h.stored()) >= len(lines) })
	got := h.stored()
	for i := range min(len(got), len(lines)) {
		if got[i] != lines[i] {
			h.t.Fatalf("line %d at the server is %q, want %q", i, got[i], lines[i])
		}
	}
	if len(got) != len(lines) {
		h.t.Fatalf("the server has %d lines, want %d", len(got), len(lines))
	}
}

// troubled waits until the output has this trouble.
func (h *house) troubled(words string) {
	h.t.Helper()
	defer func() {
		if h.t.Failed() {
			h.t.Logf("the trouble is %q", h.out.Trouble())
		}
	}()
	waittest.Until(h.t, "trouble with "+words, func() bool { return strings.Contains(h.out.Trouble(), words) })
}

// finished waits until the group has finished every line. An ack comes before its lines can
// be read; after the checkpoint they can.
func (h *house) finished() {
	h.t.Helper()
	if err := h.sink.Checkpoint(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	waittest.Until(h.t, "the group to finish all lines", func() bool {
		low, _, ok := h.work.Progress("redis")
		return ok && low == h.sink.End()
	})
}

// TestStream: each line becomes one entry, whose id is the line's position, and a restart
// adds nothing twice.
func TestStream(t *testing.T) {
	s, dir := redistest.New(t), t.TempDir()
	h := open(t, dir, s)
	h.append("one\ntwo\n")
	h.finished()
	log := h.sink.Status().Log
	entries := strings.Split(s.Do("XRANGE", "fanin", "-", "+"), "\n")
	if len(entries) != 22 {
		t.Fatalf("the stream is %q", entries)
	}
	first := strings.Join(entries[:11], " ")
	time := entries[8]
	want := "1-0 log " + log + " host web.example.com source nginx time " + time + " message one"
	if first != want || !strings.HasPrefix(entries[11], "1-") || entries[21] != "two" {
		t.Errorf("the first entry is %q, want %q; all are %q", first, want, entries)
	}
	h.close()
	h = open(t, dir, s)
	h.put(1)
	h.finished()
	if n := s.Do("XLEN", "fanin"); n != "3" {
		t.Errorf("the stream has %s entries, want 3", n)
	}
}

// TestList: each line becomes one element, as in the file. What consumers take does not come
// back, at a restart either.
func TestList(t *testing.T) {
	s, dir := redistest.New(t), t.TempDir()
	h := open(t, dir, s, toList)
	h.put(3)
	h.want(h.lines)
	if line := s.Do("LPOP", "fanin"); !strings.HasSuffix(line, " web.example.com nginx: line 0") {
		t.Errorf("the first element is %q", line)
	}
	h.finished()
	lines := h.lines
	h.close()
	h = open(t, dir, s, toList)
	h.lines = lines
	h.put(2)
	h.want(h.lines[1:])
}

// TestAgain: lines that are handed out again are not added again.
func TestAgain(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		h := open(t, t.TempDir(), redistest.New(t), change)
		h.put(100)
		h.finished()
		for range 3 {
			if _, err := h.work.Replay(t.Context(), "redis", "start"); err != nil {
				t.Fatal(err)
			}
			h.put(10)
			h.finished()
		}
		h.want(h.lines)
		if n := h.out.loop.Counts(); n.Carried <= uint64(len(h.lines)) || n.Unsure > 0 {
			t.Errorf("the counts are %+v", n)
		}
	})
}

// TestServerKilled: the server is killed again and again while lines come. Where it syncs
// each write, all of them are there in the end, each once and in order.
func TestServerKilled(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t, "appendonly yes", "appendfsync always")
		h := open(t, t.TempDir(), s, change)
		rounds := 20
		if testing.Short() {
			rounds = 4
		}
		for i := range rounds {
			for range 20 {
				h.put(15 * (1 + i%7))
			}
			s.Kill()
			h.put(10)
			s.Start()
		}
		h.want(h.lines)
	})
}

// TestServerAway: while the server is away, lines wait, and the status says so, also while
// there are none.
func TestServerAway(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t, "appendonly yes", "appendfsync always")
		h := open(t, t.TempDir(), s, change)
		h.put(10)
		h.finished()
		for range 2 {
			s.Kill()
			h.troubled("connection refused: start the server")
			h.put(10)
			s.Start()
			waittest.Until(t, "no trouble", func() bool { return h.out.Trouble() == "" })
		}
		h.want(h.lines)
		s.Freeze()
		h.put(10)
		h.troubled("timeout")
		s.Thaw()
		h.want(h.lines)
	})
}

// TestServerLosesItsEnd: what a server lost is sent again, in its place before what follows,
// and is reported.
func TestServerLosesItsEnd(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		h := open(t, t.TempDir(), s, change)
		h.put(100)
		h.finished()
		s.Do("SAVE")
		h.put(100)
		h.finished()
		s.Kill()
		h.put(10)
		s.Start() // with what was saved
		h.want(h.lines)
		if n := h.out.counts.resent.Load(); n != 100 {
			t.Errorf("%d lines were sent again, want 100", n)
		}
		h.finished()
	})
}

// TestFlushed: after a flush, all lines from where the output began are sent again: none that
// is older, and also while there are no new ones.
func TestFlushed(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s, dir := redistest.New(t), t.TempDir()
		h := &house{t: t, dir: dir, server: s}
		h.open()
		h.append("line before\n")
		waittest.Until(t, "the line", func() bool { return h.sink.End().Offset > 0 })
		fromEnd := func(o *Output) { change(o); o.From = "end" }
		h.carry(fromEnd)
		for i := range 4 {
			h.put(50)
			h.finished()
			s.Do("FLUSHALL")
			h.put(i % 2) // which comes before anybody looks, or not at all
			h.want(h.lines)
		}
		h.finished()
		h.stop()
		s.Do("DEL", "fanin", "{fanin}:fanin-out")
		h.carry(fromEnd)
		h.want(h.lines)
	})
}

// TestServerAwayLong: the server is away for longer than many leases, while several
// deliveries wait. None of their lines becomes a dead letter, or overtakes another.
func TestServerAwayLong(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t, "appendonly yes", "appendfsync always")
		h := open(t, t.TempDir(), s, change)
		h.put(10)
		h.finished()
		s.Kill()
		for range 10 {
			h.put(1000)
		}
		h.troubled("connection refused")
		time.Sleep(3 * lease)
		s.Start()
		h.want(h.lines)
		h.finished()
		groups, err := h.work.Groups(t.Context())
		if err != nil || groups[0].Dead > 0 {
			t.Errorf("the group is %+v, %v", groups, err)
		}
	})
}

// TestAlone: no other worker can take lines of the group, which would be missing at the
// target.
func TestAlone(t *testing.T) {
	h := open(t, t.TempDir(), redistest.New(t))
	w := &worker.Worker{Dial: h.work.Connect, Options: protocol.Hello{Group: "redis"},
		Handle: func(context.Context, *worker.Delivery) error { return nil }}
	var refused *worker.RefusedError
	if err := w.Run(t.Context()); !errors.As(err, &refused) {
		t.Errorf("another worker ended with %v", err)
	}
}
