package ingest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

// pipes is a listener whose connections exist in memory, so that their time can
// be that of a test. Each comes from the address that dial is given.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(from netip.Addr, port int) net.Conn {
	here, there := net.Pipe()
	p.conns <- &farConn{there, &net.TCPAddr{IP: from.AsSlice(), Port: port}}
	return here
}

// servePipes serves s on connections in memory.
func servePipes(t *testing.T, s *TCP) *pipes {
	t.Helper()
	p := newPipes()
	served := make(chan error, 1)
	go func() { served <- s.Serve(p) }() // ends by Shutdown
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-served
		if used, arriving := s.Budget.Used(), s.Budget.Arriving(); used != 0 || arriving != 0 {
			t.Errorf("%d bytes of room were not given back, %d of them arriving", used, arriving)
		}
	})
	return p
}

// sender is an agent's side of a connection that counts what it is told.
type sender struct {
	nc    net.Conn
	kinds [32]atomic.Int64
	gap   atomic.Int64  // the longest silence of the other side
	ended chan struct{} // closed when the connection ends
}

// join connects an agent, which reads all it is told.
func (p *pipes) join(t *testing.T, from netip.Addr, n int) *sender {
	t.Helper()
	s := &sender{nc: p.dial(from, n+1), ended: make(chan struct{})}
	go func() { // ends with the connection
		defer close(s.ended)
		d := wire.NewDecoder(s.nc)
		var f wire.Frame
		for last := time.Now(); d.Next(&f) == nil; last = time.Now() {
			s.gap.Store(max(s.gap.Load(), int64(time.Since(last))))
			s.kinds[f.Kind].Add(1)
		}
	}()
	if _, err := s.nc.Write(hello(fmt.Sprint("a", n), instanceA, 1)); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	if s.told(wire.KindWelcome) != 1 {
		t.Error("no welcome")
	}
	return s
}

func (s *sender) told(k wire.Kind) int { return int(s.kinds[k].Load()) }

func (s *sender) gone() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// manyLines is a batch's text of n bytes.
func manyLines(n int) string {
	return strings.Repeat(strings.Repeat("x", 99)+"\n", n/100+1)[:n-1] + "\n"
}

// batchOf is a frame with n bytes of text, of a stream of the agent's own.
func batchOf(agent, stream, n int) []byte {
	b := wire.Batch{Stream: wire.StreamID{byte(agent), byte(agent >> 8), byte(stream), 1}, End: int64(n), Text: []byte(manyLines(n))}
	return append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...)
}

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

// Frames that announce much and bring little hold next to nothing, and keep
// neither agents nor plain lines waiting.
func TestClaimsHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		s := &TCP{Out: k, Welcome: welcome}
		p := servePipes(t, s)
		for i := range 240 {
			from := 1
			if i >= 200 {
				from = i
			}
			p.join(t, addr(from), i).nc.Write(batchOf(i, 1, wire.MaxText)[:200])
		}
		synctest.Wait()
		if used := s.Budget.Used(); used > 240*firstStep {
			t.Errorf("240 claims hold %d bytes", used)
		}
		victim := p.join(t, addr(251), 999)
		began := time.Now()
		for i := range byte(100) {
			victim.nc.Write(data(i+1, 0, "abc\n"))
			synctest.Wait()
		}
		plain := p.dial(addr(252), 1)
		plain.Write([]byte("plain\n"))
		plain.Close()
		synctest.Wait()
		if n := victim.told(wire.KindAck); n != 100 || time.Since(began) > 0 {
			t.Errorf("%d of 100 answers after %v", n, time.Since(began))
		}
		if n := len(k.kept()); n != 406 {
			t.Errorf("%d bytes kept", n)
		}
		if s.Budget.Stalled() != 0 {
			t.Error("something waits")
		}
		victim.nc.Close()
	})
}

// partial sends the first n bytes of frame, then the rest at rate bytes a second,
// a piece every 100 ms.
func (s *sender) partial(frame []byte, n, rate int) {
	s.nc.Write(frame[:n])
	for frame = frame[n:]; len(frame) > 0 && rate > 0; {
		time.Sleep(100 * time.Millisecond)
		piece := min(len(frame), rate/10)
		if _, err := s.nc.Write(frame[:piece]); err != nil {
			return
		}
		frame = frame[piece:]
	}
}

// TestPartialFrames: 240 frames that begin and then stall while the memory is
// used up. Each becomes complete, or is ended with "later" and a fault, within 10
// s; the oldest, which comes at a fair rate, becomes complete.
func TestPartialFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		k.outcome = func(context.Context, wire.Batch) error { return errForget }
		s := &TCP{Out: k, Welcome: welcome}
		p := servePipes(t, s)
		frame := batchOf(1000, 0, wire.MaxText)
		oldest := p.join(t, addr(100), 1000)
		go oldest.partial(frame, 100<<10, 512<<10)
		synctest.Wait()
		var all []*sender
		for i := range 240 {
			from := 1
			if i >= 200 {
				from = i
			}
			c := p.join(t, addr(from), i)
			all = append(all, c)
			go c.partial(batchOf(i, 0, wire.MaxText), 300<<10, 0) // ends with the connection, at the latest
		}
		synctest.Wait()
		if limit := s.Budget.limit()/2 + wire.MaxText; s.Budget.Used() > limit || s.Budget.Arriving() < s.Budget.limit()/8 {
			t.Errorf("%d bytes used, %d arriving; the limit for both is %d", s.Budget.Used(), s.Budget.Arriving(), limit)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if oldest.told(wire.KindAck) != 1 || oldest.gone() {
			t.Error("the oldest frame did not become complete")
		}
		later := 0
		for i, c := range all {
			later += c.told(wire.KindLater)
			if !c.gone() || c.told(wire.KindFault) != 1 {
				t.Errorf("%d: ended %v, %d faults", i, c.gone(), c.told(wire.KindFault))
			}
		}
		t.Logf("%d of 240 were told \"later\"", later)
		if later < 120 || s.Budget.Stalled() != 0 || s.Budget.Arriving() != 0 {
			t.Errorf("%d told \"later\", waiting for %v, %d bytes arriving", later, s.Budget.Stalled(), s.Budget.Arriving())
		}
		for _, c := range all {
			c.nc.Close()
		}
		oldest.nc.Close()
	})
}

// TestFullDisk: while nothing can be written for minutes, memory is used up, and
// no agent is disconnected: each hears in time that the collector lives.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		mended := make(chan struct{})
		k.outcome = func(context.Context, wire.Batch) error { <-mended; return errForget }
		s := &TCP{Out: k, Welcome: welcome}
		p := servePipes(t, s)
		const agents, frames = 90, 8
		var all []*sender
		for i := range agents {
			if i == 60 {
				time.Sleep(10 * time.Second) // the others come when the memory is used up
			}
			c := p.join(t, addr(i%200), i)
			all = append(all, c)
			go func() { // ends with the connection
				for n := range frames {
					c.nc.Write(batchOf(i, n, 1<<20-n*50_000))
				}
				var err error
				for ; err == nil; _, err = c.nc.Write(wire.AppendPing(nil, wire.KindPing, 1)) {
					time.Sleep(5 * time.Second)
				}
			}()
		}
		time.Sleep(5 * time.Minute)
		if s.Budget.Stalled() < 4*60*time.Second {
			t.Errorf("memory is not used up: %d bytes, waiting for %v", s.Budget.Used(), s.Budget.Stalled())
		}
		close(mended)
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, c := range all {
			if c.gone() || c.told(wire.KindAck) != frames || time.Duration(c.gap.Load()) > 10*time.Second {
				t.Errorf("agent %d: gone %v, %d of %d answers, the longest silence was %v", i, c.gone(), c.told(wire.KindAck), frames, time.Duration(c.gap.Load()))
			}
			c.nc.Close()
		}
		time.Sleep(5 * time.Second)
	})
}

// TestEveryFrameEnds: frames of any size at any rate, over connections of any
// past, with all the memory used up: each becomes complete or is ended.
func TestEveryFrameEnds(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			k := newKeeper()
			k.outcome = func(context.Context, wire.Batch) error {
				time.Sleep(time.Millisecond)
				return errForget
			}
			s := &TCP{Out: k, Welcome: welcome, Budget: &Budget{Limit: 8 << 20 << r.IntN(2)}}
			p := servePipes(t, s)
			var all []*sender
			var expected []int
			for i := range 60 {
				c := p.join(t, addr(r.IntN(40)), i)
				all = append(all, c)
				first, size, rate := 1+r.IntN(100_000), 1+r.IntN(wire.MaxText), 1<<(10+r.IntN(14))
				begin, head := time.Duration(r.IntN(3000))*time.Millisecond, r.IntN(200)+100
				two := r.IntN(2) == 0
				expected = append(expected, 1)
				if two {
					expected[i] = 2
				}
				go func() { // ends with the connection
					time.Sleep(begin)
					if two {
						c.nc.Write(batchOf(i, 1, first))
					}
					c.partial(batchOf(i, 2, size), min(size, head), rate)
				}()
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			for i, c := range all {
				if acks := c.told(wire.KindAck); acks != expected[i] && !c.gone() {
					t.Errorf("seed %d: connection %d has %d answers of %d and goes on", seed, i, acks, expected[i])
				}
				c.nc.Close()
			}
			synctest.Wait()
			if s.Budget.Stalled() != 0 || s.Budget.Arriving() != 0 || s.Budget.Used() != 0 {
				t.Errorf("seed %d: waiting for %v, %d bytes arriving, %d used", seed, s.Budget.Stalled(), s.Budget.Arriving(), s.Budget.Used())
			}
		})
	}
}

// TestTrustedStall: connections that have proven themselves, and then stall
// within large frames, give way in seconds.
func TestTrustedStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		k.outcome = func(context.Context, wire.Batch) error { return errForget }
		s := &TCP{Out: k, Welcome: welcome}
		p := servePipes(t, s)
		var all []*sender
		for i := range 12 {
			c := p.join(t, addr(i+1), i)
			c.nc.Write(batchOf(i, 1, 1<<20))
			all = append(all, c)
			go c.partial(batchOf(i, 2, wire.MaxText), 1100<<10, 0) // ends with the connection
		}
		victim := p.join(t, addr(100), 100)
		victim.nc.Write(batchOf(100, 1, 256<<10))
		synctest.Wait()
		before := s.Budget.Arriving()
		go victim.nc.Write(batchOf(100, 2, 1<<20))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if victim.told(wire.KindAck) != 2 || before < s.Budget.limit()*3/8 {
			t.Errorf("%d answers, %d bytes arriving before", victim.told(wire.KindAck), before)
		}
		for _, c := range append(all, victim) {
			c.nc.Close()
		}
	})
}

// TestNotTheSendersFault: an arrival that waits behind others is not ended for it
// while nothing is written; when writing goes on and it still waits, it is.
func TestNotTheSendersFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Budget{Limit: 8 << 20}
		var blocks [][]byte
		arrive := func(n int) (*Arrival, func(have []byte) ([]byte, error)) {
			k := new(FrameClock)
			a := r.Arrive(addr(n), k, func() {})
			return a, func(have []byte) ([]byte, error) {
				return a.Grow(t.Context(), have, 1<<20, func(f func() error) error {
					k.stop()
					defer k.goOn()
					return f()
				})
			}
		}
		var all []*Arrival
		for n := range 5 { // the oldest, and four that use up what the unproven may have
			a, grow := arrive(n)
			all = append(all, a)
			var b []byte
			for len(b) < 256<<10 {
				b, _ = grow(b)
			}
			blocks = append(blocks, b)
		}
		for r.Used() < r.Limit {
			blocks = append(blocks, r.TryAcquire(256<<10))
		}
		done := make(chan error)
		go func() { b, err := r.Acquire(t.Context(), 256<<10); r.Release(b); done <- err }() // ends when a block is free
		a, grow := arrive(9)
		go func() { _, err := grow(nil); done <- err }() // ends below
		time.Sleep(time.Minute)
		for _, a := range append(all, a) {
			if a.Dismissed() {
				t.Error("ended while nothing was written")
			}
		}
		r.Release(blocks[len(blocks)-1])
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-done; err != ErrCrowded {
			t.Errorf("got %v", err)
		}
		for _, b := range blocks[:len(blocks)-1] {
			r.Release(b)
		}
		for i, a := range append(all, a) {
			r.Leave(addr([]int{0, 1, 2, 3, 4, 9}[i]), a)
		}
		if r.Used() != 0 || r.Arriving() != 0 || len(r.addresses) != 0 {
			t.Errorf("%d used, %d arriving, %d addresses", r.Used(), r.Arriving(), len(r.addresses))
		}
	})
}

// TestSlowLink: over a link of 16 KiB/s a large frame becomes complete while
// memory is not scarce; while it is, small ones do, as an agent sends that halves
// its batches.
func TestSlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		k.outcome = func(context.Context, wire.Batch) error { return errForget }
		s := &TCP{Out: k, Welcome: welcome}
		p := servePipes(t, s)
		alone := p.join(t, addr(1), 1)
		alone.partial(batchOf(1, 1, 1<<20), 100, 16<<10)
		synctest.Wait()
		if alone.told(wire.KindAck) != 1 {
			t.Error("a frame of 1 MiB did not become complete, with nobody else there")
		}
		alone.nc.Close()
		attacking := make(chan struct{})
		for i := range 60 {
			go func() { // ends with attacking
				for n := 0; ; n++ {
					select {
					case <-attacking:
						return
					default:
						c := &sender{nc: p.dial(addr(10+i), 1), ended: make(chan struct{})}
						go func() { // ends with the connection
							io.Copy(io.Discard, c.nc)
							close(c.ended)
						}()
						c.nc.Write(hello(fmt.Sprint("attacker", i), instanceA, int64(n)))
						c.partial(batchOf(i, 0, wire.MaxText), 300<<10, 64<<10)
						c.nc.Close()
						<-c.ended
					}
				}
			}()
		}
		size, acked := 256<<10, 0
		for n := 0; acked < 4 && n < 50; n++ {
			time.Sleep(time.Second)
			c := p.join(t, addr(2), 1000)
			for i := 0; acked < 4 && !c.gone(); i++ {
				before := c.told(wire.KindAck)
				c.partial(batchOf(1000, i, size), 100, 16<<10)
				synctest.Wait()
				if c.told(wire.KindAck) == before {
					size = max(size/2, 16<<10)
					break
				}
				acked++
			}
			c.nc.Close()
			time.Sleep(time.Second)
		}
		if acked < 4 || size < 16<<10 {
			t.Errorf("%d batches through, at %d bytes each", acked, size)
		}
		t.Logf("batches of %d bytes got through", size)
		close(attacking)
		time.Sleep(3 * time.Minute)
	})
}
