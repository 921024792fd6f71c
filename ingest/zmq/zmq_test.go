package zmq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// setup is an input that is served, with what it writes and reports.
type setup struct {
	*Input
	out  *ingesttest.Recorder
	stop func()

	mu      sync.Mutex
	notices []string
}

// serve binds an input to a port, unless it connects, and serves it until the test ends.
func serve(t *testing.T, n *Input) *setup {
	t.Helper()
	s := &setup{Input: n, out: ingesttest.NewRecorder()}
	shared := n.Out
	if shared == nil {
		n.Out = s.out
	}
	n.Metrics, n.Inputs = new(ingest.Metrics), new(counters.Set)
	n.Notice = func(format string, args ...any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.notices = append(s.notices, fmt.Sprintf(format, args...))
	}
	if len(n.Socket.Bind)+len(n.Socket.Connect) == 0 {
		n.Socket.Bind = []zmtp.Endpoint{endpoint(t, "tcp://127.0.0.1:0")}
	}
	if err := n.Listen(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Serve() }() // ends by stop
	s.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waittest.Limit)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; !errors.Is(err, ingest.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		c := n.lines.Counts()
		if recorded := lines.Count([]byte(s.out.Text())); shared == nil && c.InFlight() != int64(recorded) {
			t.Errorf("%d lines were written, and %+v are counted", recorded, c) // the sink counts what is written
		}
		if used := n.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of the memory budget were not released", used)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func endpoint(t testing.TB, text string) zmtp.Endpoint {
	t.Helper()
	e, err := zmtp.ParseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// address is the address of the first endpoint.
func (s *setup) address() string { return strings.TrimPrefix(s.Addrs()[0], "tcp://") }

// reported waits until the notices contain every one of some texts.
func (s *setup) reported(t *testing.T, texts ...string) {
	t.Helper()
	waittest.Until(t, fmt.Sprintf("notices with %q", texts), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := strings.Join(s.notices, "\n")
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) })
	})
}

// counted waits until a metric of the input has a value.
func (s *setup) counted(t *testing.T, name string, want int) {
	t.Helper()
	socket := strings.ToLower(string(s.Socket.Type))
	waittest.UntilEqual(t, name, want, func() int {
		return ingesttest.Metric(t, s.Metrics, name, socket) + ingesttest.Metric(t, s.Metrics, name, "")
	})
}

// dial connects as a peer of a kind.
func dial(t testing.TB, address string, kind zmtp.SocketType) *zmtp.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return handshake(t, nc, kind)
}

func handshake(t testing.TB, nc net.Conn, kind zmtp.SocketType) *zmtp.Conn {
	t.Helper()
	c, err := zmtp.Handshake(context.Background(), nc, &zmtp.Options{Type: kind})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// send sends messages of frames.
func send(t testing.TB, c *zmtp.Conn, messages ...[]string) {
	t.Helper()
	for _, m := range messages {
		var frames [][]byte
		for _, f := range m {
			frames = append(frames, []byte(f))
		}
		if err := c.Send(frames...); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestPullLines: each frame of a message is one line or several.
func TestPullLines(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}, Lines: LineOptions{MaxLine: 256, Source: "jobs"}})
	c := dial(t, s.address(), zmtp.Push)
	long := strings.Repeat("x", 300)
	send(t, c, []string{"one"}, []string{"two", "three\n"}, []string{"four\nfive"}, []string{""}, []string{"", "six"},
		[]string{"a\x00b\xff\r"}, []string{"seven\x00"}, []string{"<13>eight\x00<13>nine\x00"}, []string{long}, []string{"ten"})
	parts, divided := lines.Split(nil, []byte(long+"\n"), 256)
	batches := s.out.WaitText(t, "one\ntwo\nthree\nfour\nfive\nsix\na\x00b\xff\r\nseven\n<13>eight\n<13>nine\n"+string(parts)+"ten\n")
	for _, b := range batches {
		if b.Host != "127.0.0.1" || b.Source != "jobs" || len(b.Marks) > 0 || b.Input != "zmq" {
			t.Errorf("a batch is of input %q, host %q, source %q, with %d marks", b.Input, b.Host, b.Source, len(b.Marks))
		}
	}
	s.counted(t, "fanin_zmq_messages_total", 10)
	s.counted(t, "fanin_zmq_empty_frames_total", 2)
	if n := s.lines.Counts(); n.Split != uint64(divided) {
		t.Errorf("%d lines are counted as split, want %d", n.Split, divided)
	}
}

// labelled are lines as "source|line".
func labelled(batches []wire.Batch) (all []string) {
	for i := range batches {
		for labels, text := range batches[i].Runs() {
			for line := range strings.Lines(string(text)) {
				all = append(all, labels.Source+"|"+strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return all
}

// TestSub: the first frame of several is the topic, and the source.
func TestSub(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Sub: SubOptions{Topics: []string{"app.", "x"}},
		Lines: LineOptions{Host: "my host", Source: "my app"}})
	c := dial(t, s.address(), zmtp.Pub)
	for _, want := range []string{"app.", "x"} {
		if topic, add, err := c.Subscription(); err != nil || !add || string(topic) != want {
			t.Fatalf("subscribed to %q, %v, %v", topic, add, err)
		}
	}
	topic := strings.Repeat("t", 300)
	send(t, c, []string{"app.web", "one\ntwo", "three"}, []string{"app.db", "four"}, []string{"app.web", "five"},
		[]string{"x single frame"}, []string{"fanin", "six"}, []string{"a b:c", "seven"}, []string{topic, "eight"}, []string{"only", ""})
	want := []string{"app.web|one", "app.web|two", "app.web|three", "app.db|four", "app.web|five", "my_app|x single frame", "fanin_|six",
		"a_b_c|seven", topic[:255] + "|eight"}
	_, batches := s.out.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "eight\n") })
	if got := labelled(batches); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, b := range batches {
		if b.Host != "my_host" {
			t.Errorf("the host is %q", b.Host)
		}
	}
}

// number is the counter frame of a message.
func number(n uint32) string {
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
}

// TestSequence: gaps in the counters of the messages are counted, for each topic; around the
// wrap, too. A counter that falls is that of a sender that was started again.
func TestSequence(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Sub: SubOptions{Sequence: true}})
	c := dial(t, s.address(), zmtp.Pub)
	const top = 1<<32 - 1
	send(t, c, []string{"a", "a7", number(7)}, []string{"b", "b0", number(0)}, []string{"a", "a8", number(8)},
		[]string{"a", "a12", number(12)}, []string{"b", "b1", number(1)}, // 3 of a are missing
		[]string{"w", "w", number(top)}, []string{"w", "w", number(0)}, []string{"w", "w", number(1)}, []string{"v", "v", number(top - 1)},
		[]string{"v", "v", number(3)},                                        // top, 0, 1, 2
		[]string{"r", "r", number(1_000_000)}, []string{"r", "r", number(5)}, // started again; 0 to 4
		[]string{"b", "unnumbered", "words"}, []string{"b", "b3", number(3)}) // 2
	_, batches := s.out.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "b3\n") })
	want := []string{"a|a7", "b|b0", "a|a8", "a|a12", "b|b1", "w|w", "w|w", "w|w", "v|v", "v|v", "r|r", "r|r", "b|unnumbered", "b|words", "b|b3"}
	if got := labelled(batches); !slices.Equal(got[:12], want[:12]) || got[len(got)-1] != "b|b3" {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s.stop()
	s.counted(t, "fanin_zmq_missing_messages_total", 3+4+5+1)
	s.counted(t, "fanin_zmq_restarts_total", 1)
	s.reported(t, "LOST n=3 unit=messages reason=zmq-gap", "topic=a", "LOST n=10 unit=messages reason=zmq-gap", "NOTE n=1 unit=topics")
}

// TestSequenceOverReconnect: what was missed while the connection to a publisher was broken
// is a gap of its counters, and each break is counted.
func TestSequenceOverReconnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub, Connect: []zmtp.Endpoint{endpoint(t, "tcp://"+ln.Addr().String())}},
		Sub: SubOptions{Sequence: true}})
	const breaks = 3
	for i := range uint32(breaks + 1) {
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := handshake(t, nc, zmtp.Pub)
		if _, _, err := c.Subscription(); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("round %d", i)
		send(t, c, []string{"a", text, number(10 * i)}, []string{"a", "next", number(10*i + 1)})
		s.out.Wait(t, func(got string, _ []wire.Batch) bool { return strings.Contains(got, text+"\nnext\n") })
		if i < breaks {
			c.Close()
		}
	}
	s.stop()
	s.counted(t, "fanin_zmq_breaks_total", breaks)
	s.counted(t, "fanin_zmq_missing_messages_total", 8*breaks)
	s.reported(t, "BREAK n=1 unit=connections socket=SUB", "BREAK n=2 unit=connections socket=SUB")
}

// held is an Appender that appends nothing until it is released.
type held struct {
	*ingesttest.Recorder
	release chan struct{}
}

func (h *held) Append(ctx context.Context, b wire.Batch) error {
	select {
	case <-h.release:
		return h.Recorder.Append(ctx, b)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestPullWaits: while the log is busy a PULL does not read, so its peer waits. Nothing is
// lost, nothing changes its order.
func TestPullWaits(t *testing.T) {
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}, Out: h, Budget: &ingest.Budget{Limit: 8 << 20}})
	s.out = h.Recorder
	c := dial(t, s.address(), zmtp.Push)
	const messages = 300_000
	sent := make(chan error, 1)
	go func() { // ends with the last message
		var err error
		for i := 0; i < messages && err == nil; i++ {
			err = c.Send(fmt.Appendf(nil, "%0100d", i))
		}
		sent <- errors.Join(err, c.Flush())
	}()
	waittest.Until(t, "the memory to be used", func() bool { return s.Budget.Used() >= 8<<10 })
	select {
	case err := <-sent:
		t.Fatalf("30 MB were taken while nothing was written: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if used := s.Budget.Used(); used > 3*largeBlock {
		t.Errorf("one peer has %d bytes of the memory budget", used)
	}
	close(h.release)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range messages {
		fmt.Fprintf(&want, "%0100d\n", i)
	}
	h.WaitText(t, want.String())
	s.counted(t, "fanin_zmq_dropped_messages_total", 0)
}

// TestPullWaitsForMemory: when others have used up the memory budget, a PULL waits for it.
func TestPullWaitsForMemory(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}, Budget: &ingest.Budget{Limit: 1 << 20}})
	others := s.Budget.TryAcquire(1 << 20)
	send(t, dial(t, s.address(), zmtp.Push), []string{"one"}, []string{"two"})
	waittest.Until(t, "the peer to wait", func() bool { return s.Budget.Stalled() > 0 })
	s.Budget.Release(others)
	s.out.WaitText(t, "one\ntwo\n")
}

// TestSubDrops: while the log is busy a SUB reads on, and drops what it has no memory for:
// the count is exact, and the log reports it.
func TestSubDrops(t *testing.T) {
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Out: h, Sub: SubOptions{Pending: 4 << 20}})
	s.out = h.Recorder
	c := dial(t, s.address(), zmtp.Pub)
	const messages = 200_000
	for i := range messages {
		if err := c.Send([]byte("topic"), fmt.Appendf(nil, "%048d\n%049d\n", i, i), []byte("")); err != nil {
			t.Fatal(err)
		}
	}
	send(t, c)
	s.counted(t, "fanin_zmq_messages_total", messages)
	close(h.release)
	send(t, c, []string{"topic", "last"})
	text, _ := h.Wait(t, func(text string, _ []wire.Batch) bool { return strings.HasSuffix(text, "\nlast\n") })
	written := (strings.Count(text, "\n") - 1) / 2
	if written == 0 || written == messages {
		t.Fatalf("%d of %d messages were written", written, messages)
	}
	s.stop()
	s.counted(t, "fanin_zmq_dropped_messages_total", messages-written)
	if n := s.lines.Counts(); n.Dropped != 2*uint64(messages-written) || n.Received != 2*messages+1 {
		t.Errorf("%+v; want %d dropped", n, messages-written)
	}
	total := 0
	for _, text := range s.notices {
		n := 0
		if _, err := fmt.Sscanf(text, "LOST n=%d unit=messages reason=zmq-busy", &n); err != nil {
			t.Errorf("notice %q: %v", text, err)
		}
		total += n
	}
	if total != messages-written {
		t.Errorf("%d messages were reported as lost, %d were", total, messages-written)
	}
}

// TestSubHoldsPending: while the log is busy, a slow publisher's messages wait in as much
// memory as a fast one's: nothing is dropped long before that is used up.
func TestSubHoldsPending(t *testing.T) {
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Out: h, Sub: SubOptions{Pending: 4 << 20}})
	s.out = h.Recorder
	c := dial(t, s.address(), zmtp.Pub)
	const messages, size = 25, 50 // a message is 50 lines of 1,000 bytes
	line := strings.Repeat("x", 999) + "\n"
	for range messages {
		send(t, c, []string{"topic", strings.Repeat(line, size)})
		time.Sleep(5 * time.Millisecond) // each alone, as a slow publisher sends: this is the subject
	}
	s.counted(t, "fanin_zmq_messages_total", messages)
	s.counted(t, "fanin_zmq_dropped_messages_total", 0)
	close(h.release)
	s.out.WaitText(t, strings.Repeat(line, messages*size))
	s.stop()
}

// TestTooLarge: a message beyond the limit is skipped and counted; the next one is read.
func TestTooLarge(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Lines: LineOptions{MaxMessage: 100_000}})
	c := dial(t, s.address(), zmtp.Pub)
	big := strings.Repeat("x", 99_000)
	send(t, c, []string{"t", "one"}, []string{"t", big + big}, []string{big + big, "line"}, []string{"t", big}, []string{"t", "two"})
	s.out.WaitText(t, "one\n"+big+"\ntwo\n")
	s.stop()
	s.counted(t, "fanin_zmq_skipped_messages_total", 2)
	s.reported(t, "LOST n=2 unit=messages reason=zmq-too-large")
}

// TestPullEnds: a PUSH that ends between two messages has sent all of them; one that ends
// within a message breaks.
func TestPullEnds(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}})
	c := dial(t, s.address(), zmtp.Push)
	send(t, c, []string{"whole"})
	c.Close()
	nc, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	send(t, handshake(t, nc, zmtp.Push), []string{"two"})
	nc.Write([]byte{0, 10, 'p', 'a', 'r', 't'})
	s.out.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "two\n") })
	nc.Close()
	s.counted(t, "fanin_zmq_breaks_total", 1)
	waittest.UntilEqual(t, "peers", 0, s.socket.Peers)
	s.counted(t, "fanin_zmq_breaks_total", 1)
	s.reported(t, "BREAK n=1 unit=connections socket=PULL")
}

// TestShutdownReadsRest: what had arrived when the collector stops is written.
func TestShutdownReadsRest(t *testing.T) {
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}, Out: h})
	s.out = h.Recorder
	c := dial(t, s.address(), zmtp.Push)
	const messages = 5_000 // more than is read while nothing is written, and no more than the kernel takes
	var want bytes.Buffer
	for i := range messages {
		line := fmt.Appendf(nil, "%040d", i)
		if err := c.Send(line); err != nil {
			t.Fatal(err)
		}
		want.Write(append(line, '\n'))
	}
	send(t, c)
	time.AfterFunc(50*time.Millisecond, func() { close(h.release) }) // Shutdown has begun, or not: both must do
	s.stop()
	if got := h.Text(); got != want.String() {
		t.Fatalf("%d bytes were written, want %d", len(got), want.Len())
	}
	s.counted(t, "fanin_zmq_breaks_total", 0)
}
