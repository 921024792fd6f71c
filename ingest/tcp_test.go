package ingest

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
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

func TestMetrics(t *testing.T) {
	streams, datagrams := NewStreamMetrics(), NewDatagramMetrics()
	inputs := new(counters.Set)
	inputs.New("tcp", counters.None)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(streams, datagrams, inputs, new(Sessions), new(Budget))
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
	k := newKeeper()
	s := &TCP{Out: k}
	served := make(chan error)
	go func() { served <- s.Serve(&flaky{ln, 3}) }()
	io.WriteString(dial(t, ln.Addr().String()), "x\n")
	k.waitText(t, "x\n")
	if n := count(s.Metrics.acceptErrors); n != 3 {
		t.Errorf("%d failures counted", n)
	}
	s.Shutdown(t.Context())
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
}

func TestMaxConns(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k, MaxConns: 2}
	addr := serveTCP(t, s)
	for range 2 {
		io.WriteString(dial(t, addr), "x\n")
	}
	k.waitText(t, "x\nx\n")
	nc := dial(t, addr)
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was taken")
	}
	if n := count(s.Metrics.rejected["max_conns"]); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// elsewhere makes connections look as if they came from addresses of a network,
// from each address two.
type elsewhere struct {
	net.Listener
	n int
}

type farConn struct {
	net.Conn
	from net.Addr
}

func (c *farConn) RemoteAddr() net.Addr { return c.from }

func (l *elsewhere) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	l.n++
	return &farConn{nc, &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(l.n/2)), Port: l.n}}, err
}

// TestMaxConnsPerIP: the second connection of an address is turned away and
// counted, and the message comes once; others are served.
func TestMaxConnsPerIP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper()
	var said bytes.Buffer
	s := &TCP{Out: k, MaxConnsPerIP: 1, Log: slog.New(slog.NewTextHandler(&said, nil))}
	served := make(chan error)
	go func() { served <- s.Serve(&elsewhere{Listener: ln, n: 1}) }() // ends by Shutdown
	for i := range 3 {
		first, second := dial(t, ln.Addr().String()), dial(t, ln.Addr().String())
		io.WriteString(first, "x\n")
		k.waitText(t, strings.Repeat("x\n", i+1))
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("the second connection of an address was taken")
		}
	}
	if n := count(s.Metrics.rejected["max_conns_per_ip"]); n != 3 {
		t.Errorf("%d counted", n)
	}
	s.Shutdown(t.Context())
	<-served
	if n := strings.Count(said.String(), "max_conns_per_ip"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
}

func TestIdleTimeout(t *testing.T) {
	k := newKeeper()
	addr := serveTCP(t, &TCP{Out: k, IdleTimeout: 30 * time.Millisecond})
	nc := dial(t, addr)
	io.WriteString(nc, "begun")
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	k.waitText(t, "begun\n")
}

// A long beginning of a line does not hold memory for ever.
func TestHeldLine(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k, FrameTimeout: 50 * time.Millisecond}
	addr := serveTCP(t, s)
	nc := dial(t, addr)
	begin := strings.Repeat("x", 100_000)
	io.WriteString(nc, begin)
	k.wait(t, func(text string, _ []wire.Batch) bool { return strings.HasSuffix(text, wire.SplitMark+"\n") })
	io.WriteString(nc, " end\n")
	text, _ := k.wait(t, func(all string, _ []wire.Batch) bool { return strings.HasSuffix(all, " end\n") })
	if string(joined([]byte(text))) != begin+" end\n" || s.plainLines.Counts().Split != 1 {
		t.Errorf("%d bytes, %d splits", len(text), s.plainLines.Counts().Split)
	}
}

// Senders of half lines cannot take the budget of others.
func TestHalfLinesLeaveRoom(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k, Budget: &Budget{Limit: 1 << 20}}
	addr := serveTCP(t, s)
	begin := strings.Repeat("x", 200_000)
	for n := range 8 {
		io.WriteString(dial(t, addr), begin)
		for len(k.kept())+int(s.Budget.Used()) < (n+1)*len(begin) {
			runtime.Gosched() // until it was read: it is held, or was given in pieces
		}
	}
	io.WriteString(dial(t, addr), "here\n")
	k.wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "here\n") })
	for s.Budget.Used() > 512<<10 {
		runtime.Gosched() // the test ends when half lines hold at most half
	}
}

func TestMaxLine(t *testing.T) {
	k := newKeeper()
	addr := serveTCP(t, &TCP{Out: k, MaxLine: 300})
	want := strings.Repeat("a", 1000) + "\nb\n" + strings.Repeat("c", 299) + "\n" + strings.Repeat("d", 70_000)
	nc := dial(t, addr)
	io.WriteString(nc, want)
	nc.Close()
	text, _ := k.wait(t, func(text string, _ []wire.Batch) bool { return len(joined([]byte(text))) > len(want) })
	checkPieces(t, []byte(text), 300)
	if got := string(joined([]byte(text))); got != want+"\n" {
		t.Errorf("joined %d bytes, want %d", len(got), len(want)+1)
	}
}

func TestAppendErrors(t *testing.T) {
	for _, err := range []error{wire.ErrDraining, &wire.Refused{Reason: "no"}, errors.New("odd")} {
		k := newKeeper()
		k.outcome = func(context.Context, wire.Batch) error { return err }
		var log bytes.Buffer
		s := &TCP{Out: k, Log: slog.New(slog.NewTextHandler(&log, nil))}
		addr := serveTCP(t, s)
		nc := dial(t, addr)
		io.WriteString(nc, "one\ntwo\n")
		if _, err := io.Copy(io.Discard, nc); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		s.Shutdown(t.Context())
		if !strings.Contains(log.String(), "lines_unsure=2") || !strings.Contains(log.String(), err.Error()) {
			t.Errorf("log %q", log.String())
		}
		if n := s.plainLines.Counts().Unsure; n != 2 {
			t.Errorf("%d unsure lines", n)
		}
	}
}

// What was sent before Shutdown is kept, its unterminated end too.
func TestDrainPlain(t *testing.T) {
	k := newKeeper()
	in, out := make(chan struct{}, 100), make(chan struct{})
	k.outcome = func(context.Context, wire.Batch) error { in <- struct{}{}; <-out; return nil }
	s := &TCP{Out: k}
	addr := serveTCP(t, s)
	nc := dial(t, addr)
	io.WriteString(nc, "one\n")
	<-in // the collector is in Append
	io.WriteString(nc, "two\nthr")
	io.WriteString(nc, "ee")
	ended := make(chan error)
	go func() { ended <- s.Shutdown(context.Background()) }()
	<-s.draining
	close(out)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	k.waitText(t, "one\ntwo\nthree\n")
}

func TestShutdownIsBounded(t *testing.T) {
	k := newKeeper()
	in := make(chan struct{})
	k.outcome = func(ctx context.Context, _ wire.Batch) error { close(in); <-ctx.Done(); return ctx.Err() }
	s := &TCP{Out: k}
	addr := serveTCP(t, s)
	io.WriteString(dial(t, addr), "x\n")
	<-in
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestStorm(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k, Welcome: welcome}
	addr := serveTCP(t, s)
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
				nc.Write(hello(fmt.Sprint("a", i), instanceA, 1)[:i%40])
			case 2:
				nc.Write(append(hello(fmt.Sprint("a", i), instanceA, 1), data(byte(i%250+1), 0, "x\n")...))
			}
		})
	}
	all.Wait()
	k.wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "line\n") == 100 })
}

func TestCompressed(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k, Welcome: welcome}
	addr := serveTCP(t, s)
	c := greet(t, addr, "a", instanceA, 1)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for _, n := range []int{300, 4096, 70_000, 1 << 20, wire.MaxText} {
		text := hexLines(n)
		b := wire.Batch{Stream: wire.StreamID{byte(n >> 4), byte(n >> 12), 1}, End: int64(n), Text: text}
		packed := enc.EncodeAll(text, nil)
		c.send(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
		c.want(wire.KindAck)
	}
	if len(k.kept()) != 300+4096+70_000+1<<20+wire.MaxText {
		t.Errorf("kept %d bytes", len(k.kept()))
	}
	// A small text that says it opens to another length.
	b := wire.Batch{Stream: wire.StreamID{9}, Text: []byte("xx\n")}
	packed := enc.EncodeAll([]byte("xxxxxxxxx\n"), nil)
	c.send(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
	c.fault()
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
	k := newKeeper()
	s := &TCP{Out: k, Welcome: welcome}
	addr := serveTCP(t, s)
	for i, text := range [][]byte{
		bytes.Repeat([]byte("\n"), wire.MaxText), append(bytes.Repeat([]byte("x"), wire.MaxText-1), '\n'),
		bytes.Repeat([]byte("ok\n"), 20_000), append(hexLines(1000), bytes.Repeat([]byte("\n"), 3000)...),
	} {
		c := greet(t, addr, "a", instanceA, 1)
		b := wire.Batch{Stream: wire.StreamID{byte(i + 1)}, End: int64(len(text)), Text: text}
		packed := enc.EncodeAll(text, nil)
		c.send(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
		c.fault("at most", "times")
	}
	if k.kept() != "" {
		t.Errorf("%d bytes were kept", len(k.kept()))
	}
}

// Many agents with large frames and little room all get through.
func TestLittleRoom(t *testing.T) {
	k := newKeeper()
	k.outcome = func(context.Context, wire.Batch) error { return errForget }
	addr := serveTCP(t, &TCP{Out: k, Welcome: welcome, Budget: &Budget{Limit: 1 << 20}})
	random := make([]byte, 1<<19)
	rand.NewChaCha8([32]byte{}).Read(random)
	text := hex.AppendEncode(nil, random) // compresses to half: packed and open it takes two blocks
	text[len(text)-1] = '\n'
	enc, _ := zstd.NewWriter(nil)
	packed := enc.EncodeAll(text, nil)
	enc.Close()
	var all sync.WaitGroup
	for i := range 8 {
		c := greet(t, addr, fmt.Sprint("a", i), instanceA, 1)
		all.Go(func() {
			for n := range 8 {
				b := wire.Batch{Stream: wire.StreamID{byte(i + 1), byte(n)}, End: 5, Text: text}
				if n%2 == 0 {
					c.nc.Write(append(wire.AppendBatch(nil, &b, 1, packed), packed...))
				} else {
					c.nc.Write(append(wire.AppendBatch(nil, &b, 0, text), text...))
				}
			}
			for range 8 {
				var f wire.Frame
				if err := c.dec.Next(&f); err != nil || f.Kind != wire.KindAck {
					t.Errorf("%+v, %v", f, err)
				}
			}
		})
	}
	all.Wait()
}

// An idle connection holds no block and little else.
func TestIdleMemory(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k}
	addr := serveTCP(t, s)
	const conns = 500
	before := inUse()
	for i := range conns {
		nc := dial(t, addr)
		if i%2 == 0 {
			io.WriteString(nc, "a line\nand half")
		}
	}
	k.wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "\n") == conns/2 })
	for count(s.Metrics.openConns) < conns || s.Budget.Used() > 0 {
		runtime.Gosched()
	}
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
