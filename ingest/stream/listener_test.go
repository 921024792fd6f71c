package stream_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

func TestMetrics(t *testing.T) {
	s := &ingesttest.TCP{Out: ingesttest.NewRecorder()}
	ingesttest.Start(t, s)
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: s.Out}}
	ingesttest.StartUDP(t, u, "127.0.0.1:0")
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.Metrics, u.Metrics, s.Inputs, s.Sessions, s.Budget)
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// flaky fails to accept for a while, as when descriptors are exhausted.
type flaky struct {
	net.Listener
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptGoesOn(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k}
	served := make(chan error)
	go func() { served <- s.Serve(&flaky{ln, 3}) }()
	io.WriteString(ingesttest.Dial(t, ln.Addr().String()), "x\n")
	k.WaitText(t, "x\n")
	if n := ingesttest.Metric(t, s.Metrics, "fanin_accept_errors_total", ""); n != 3 {
		t.Errorf("%d failures counted", n)
	}
	s.Shutdown(t.Context())
	if err := <-served; err != ingest.ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
}

func TestMaxConns(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Limits: stream.Limits{MaxConns: 2}}
	addr := ingesttest.Start(t, s)
	for range 2 {
		io.WriteString(ingesttest.Dial(t, addr), "x\n")
	}
	k.WaitText(t, "x\nx\n")
	nc := ingesttest.Dial(t, addr)
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was taken")
	}
	if n := s.Rejected(t, "max_conns"); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// elsewhere makes connections look as if they came from addresses of a network,
// from each address two.
type elsewhere struct {
	net.Listener
	n int
}

func (l *elsewhere) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	l.n++
	return &ingesttest.FarConn{Conn: nc, From: &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(l.n/2)), Port: l.n}}, err
}

// TestMaxConnsPerIP: the second connection of an address is turned away and
// counted, and the message comes once; others are served.
func TestMaxConnsPerIP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := ingesttest.NewRecorder()
	var said bytes.Buffer
	s := &ingesttest.TCP{Out: k, Log: slog.New(slog.NewTextHandler(&said, nil)), Limits: stream.Limits{MaxConnsPerIP: 1}}
	served := make(chan error)
	go func() { served <- s.Serve(&elsewhere{Listener: ln, n: 1}) }() // ends by Shutdown
	for i := range 3 {
		first, second := ingesttest.Dial(t, ln.Addr().String()), ingesttest.Dial(t, ln.Addr().String())
		io.WriteString(first, "x\n")
		k.WaitText(t, strings.Repeat("x\n", i+1))
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("the second connection of an address was taken")
		}
	}
	if n := s.Rejected(t, "max_conns_per_ip"); n != 3 {
		t.Errorf("%d counted", n)
	}
	s.Shutdown(t.Context())
	<-served
	if n := strings.Count(said.String(), "max_conns_per_ip"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		p := ingesttest.StartPipes(t, &ingesttest.TCP{Out: k, Limits: stream.Limits{IdleTimeout: time.Minute}})
		nc, began := p.Dial(ingesttest.Addr(1), 1), time.Now()
		io.WriteString(nc, "begun")
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF || time.Since(began) != time.Minute {
			t.Errorf("read: %v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if got := k.Text(); got != "begun\n" {
			t.Errorf("recorded %q", got)
		}
	})
}

// A long beginning of a line does not hold memory for ever.
func TestHeldLine(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Limits: stream.Limits{FrameTimeout: 50 * time.Millisecond}}
	addr := ingesttest.Start(t, s)
	nc := ingesttest.Dial(t, addr)
	begin := strings.Repeat("x", 100_000)
	io.WriteString(nc, begin)
	k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.HasSuffix(text, wire.SplitMark+"\n") })
	io.WriteString(nc, " end\n")
	text, _ := k.Wait(t, func(all string, _ []wire.Batch) bool { return strings.HasSuffix(all, " end\n") })
	if string(ingesttest.Joined([]byte(text))) != begin+" end\n" || s.Counts("tcp").Split != 1 {
		t.Errorf("%d bytes, %d splits", len(text), s.Counts("tcp").Split)
	}
}

// Senders of half lines cannot take the budget of others.
func TestHalfLinesLeaveRoom(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Budget: &ingest.Budget{Limit: 1 << 20}}
	addr := ingesttest.Start(t, s)
	begin := strings.Repeat("x", 200_000)
	for n := range 8 {
		io.WriteString(ingesttest.Dial(t, addr), begin)
		waittest.Until(t, "half a line to be read: held, or appended in parts", func() bool {
			return len(k.Text())+int(s.Budget.Used()) >= (n+1)*len(begin)
		})
	}
	io.WriteString(ingesttest.Dial(t, addr), "here\n")
	k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "here\n") })
	waittest.Until(t, "half lines to hold at most half", func() bool { return s.Budget.Used() <= 512<<10 })
}

func TestMaxLine(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, MaxLine: 300})
	want := strings.Repeat("a", 1000) + "\nb\n" + strings.Repeat("c", 299) + "\n" + strings.Repeat("d", 70_000)
	nc := ingesttest.Dial(t, addr)
	io.WriteString(nc, want)
	nc.Close()
	text, _ := k.Wait(t, func(text string, _ []wire.Batch) bool { return len(ingesttest.Joined([]byte(text))) > len(want) })
	ingesttest.CheckLines(t, []byte(text), 300)
	if got := string(ingesttest.Joined([]byte(text))); got != want+"\n" {
		t.Errorf("joined %d bytes, want %d", len(got), len(want)+1)
	}
}

func TestAppendErrors(t *testing.T) {
	for _, err := range []error{wire.ErrDraining, &wire.Refused{Reason: "no"}, errors.New("odd")} {
		k := ingesttest.NewRecorder()
		k.Outcome = func(context.Context, wire.Batch) error { return err }
		var log bytes.Buffer
		s := &ingesttest.TCP{Out: k, Log: slog.New(slog.NewTextHandler(&log, nil))}
		addr := ingesttest.Start(t, s)
		nc := ingesttest.Dial(t, addr)
		io.WriteString(nc, "one\ntwo\n")
		if _, err := io.Copy(io.Discard, nc); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		s.Shutdown(t.Context())
		if !strings.Contains(log.String(), "lines_unsure=2") || !strings.Contains(log.String(), err.Error()) {
			t.Errorf("log %q", log.String())
		}
		want := uint64(2)
		if errors.Is(err, wire.ErrRefused) {
			want = 0 // the sink counts them as rejected
		}
		if n := s.Counts("tcp").Unsure; n != want {
			t.Errorf("%v: %d unsure lines, want %d", err, n, want)
		}
	}
}

// What was sent before Shutdown is kept, its unterminated end too.
func TestDrainPlain(t *testing.T) {
	k := ingesttest.NewRecorder()
	in, out := make(chan struct{}, 100), make(chan struct{})
	k.Outcome = func(context.Context, wire.Batch) error { in <- struct{}{}; <-out; return nil }
	s := &ingesttest.TCP{Out: k}
	addr := ingesttest.Start(t, s)
	nc := ingesttest.Dial(t, addr)
	io.WriteString(nc, "one\n")
	<-in // the collector is in Append
	io.WriteString(nc, "two\nthr")
	io.WriteString(nc, "ee")
	ended := make(chan error)
	go func() { ended <- s.Shutdown(context.Background()) }()
	<-s.Stopped()
	close(out)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	k.WaitText(t, "one\ntwo\nthree\n")
}

func TestShutdownIsBounded(t *testing.T) {
	k := ingesttest.NewRecorder()
	in := make(chan struct{})
	k.Outcome = func(ctx context.Context, _ wire.Batch) error { close(in); <-ctx.Done(); return ctx.Err() }
	s := &ingesttest.TCP{Out: k}
	addr := ingesttest.Start(t, s)
	io.WriteString(ingesttest.Dial(t, addr), "x\n")
	<-in
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestStorm(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			switch i % 3 {
			case 0:
				io.WriteString(nc, "line\n")
			case 1:
				nc.Write(ingesttest.Hello(fmt.Sprint("a", i), ingesttest.InstanceA, 1)[:i%40])
			case 2:
				nc.Write(append(ingesttest.Hello(fmt.Sprint("a", i), ingesttest.InstanceA, 1), ingesttest.Data(byte(i%250+1), 0, "x\n")...))
			}
		})
	}
	all.Wait()
	k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "line\n") == 100 })
}

func TestCompressed(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for _, n := range []int{300, 4096, 70_000, 1 << 20, wire.MaxText} {
		text := hexLines(n)
		b := wire.Batch{Stream: wire.StreamID{byte(n >> 4), byte(n >> 12), 1}, End: int64(n), Text: text}
		packed := enc.EncodeAll(text, nil)
		c.Send(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
		c.Want(wire.KindAck)
	}
	if len(k.Text()) != 300+4096+70_000+1<<20+wire.MaxText {
		t.Errorf("kept %d bytes", len(k.Text()))
	}
	// A small text that says it opens to another length.
	b := wire.Batch{Stream: wire.StreamID{9}, Text: []byte("xx\n")}
	packed := enc.EncodeAll([]byte("xxxxxxxxx\n"), nil)
	c.Send(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
	c.WantFault()
	if used := s.Budget.Used(); used != 0 {
		t.Errorf("%d bytes of room used", used)
	}
}

// hexLines is n bytes in lines of 100 that compress to half.
func hexLines(n int) []byte {
	random := make([]byte, n/2+1)
	rand.NewChaCha8([32]byte{}).Read(random)
	text := hex.AppendEncode(nil, random)[:n]
	for i := 99; i < n; i += 100 {
		text[i] = '\n'
	}
	text[n-1] = '\n'
	return text
}

// Compressed lines cost no more than so many times their bytes: a bomb of empty
// lines, and one of a single line, end the connection and hold no memory.
func TestBombs(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	for i, text := range [][]byte{
		bytes.Repeat([]byte("\n"), wire.MaxText), append(bytes.Repeat([]byte("x"), wire.MaxText-1), '\n'),
		bytes.Repeat([]byte("ok\n"), 20_000), append(hexLines(1000), bytes.Repeat([]byte("\n"), 3000)...),
	} {
		c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
		b := wire.Batch{Stream: wire.StreamID{byte(i + 1)}, End: int64(len(text)), Text: text}
		packed := enc.EncodeAll(text, nil)
		c.Send(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
		c.WantFault("at most", "times")
	}
	if k.Text() != "" {
		t.Errorf("%d bytes were kept", len(k.Text()))
	}
}

// Many agents with large frames and little room all get through.
func TestLittleRoom(t *testing.T) {
	k := ingesttest.NewRecorder()
	k.Outcome = func(context.Context, wire.Batch) error { return ingesttest.ErrForget }
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Budget: &ingest.Budget{Limit: 1 << 20}})
	random := make([]byte, 1<<19)
	rand.NewChaCha8([32]byte{}).Read(random)
	text := hex.AppendEncode(nil, random) // compresses to half: packed and open it takes two blocks
	text[len(text)-1] = '\n'
	enc, _ := zstd.NewWriter(nil)
	packed := enc.EncodeAll(text, nil)
	enc.Close()
	var all sync.WaitGroup
	for i := range 8 {
		c := ingesttest.Greet(t, addr, fmt.Sprint("a", i), ingesttest.InstanceA, 1)
		all.Go(func() {
			for n := range 8 {
				b := wire.Batch{Stream: wire.StreamID{byte(i + 1), byte(n)}, End: 5, Text: text}
				if n%2 == 0 {
					c.Conn.Write(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
				} else {
					c.Conn.Write(append(wire.AppendBatch(nil, &b, 0, text), text...))
				}
			}
			for range 8 {
				var f wire.Frame
				if err := c.Dec.Next(&f); err != nil || f.Kind != wire.KindAck {
					t.Errorf("%+v, %v", f, err)
				}
			}
		})
	}
	all.Wait()
}

// An idle connection holds no block and little else.
func TestIdleMemory(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k}
	addr := ingesttest.Start(t, s)
	const conns = 500
	before := inUse()
	for i := range conns {
		nc := ingesttest.Dial(t, addr)
		if i%2 == 0 {
			io.WriteString(nc, "a line\nand half")
		}
	}
	k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "\n") == conns/2 })
	waittest.Until(t, "all connections to be idle", func() bool { return s.Open(t) == conns && s.Budget.Used() == 0 })
	if each := (inUse() - before) / conns; each > 12<<10 {
		t.Errorf("%d bytes for each idle connection, its client included", each)
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
