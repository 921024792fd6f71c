package agent_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// Frames that announce much and bring little hold next to nothing, and keep
// neither agents nor plain lines waiting.
func TestClaimsHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		p := ingesttest.StartPipes(t, s)
		for i := range 240 {
			from := 1
			if i >= 200 {
				from = i
			}
			p.Join(t, ingesttest.Addr(from), i).Conn.Write(ingesttest.Frame(i, 1, wire.MaxText)[:200])
		}
		synctest.Wait()
		if used := s.Budget.Used(); used > 240*(4<<10) {
			t.Errorf("240 claims hold %d bytes", used)
		}
		victim := p.Join(t, ingesttest.Addr(251), 999)
		began := time.Now()
		for i := range byte(100) {
			victim.Conn.Write(ingesttest.Data(i+1, 0, "abc\n"))
			synctest.Wait()
		}
		plain := p.Dial(ingesttest.Addr(252), 1)
		plain.Write([]byte("plain\n"))
		plain.Close()
		synctest.Wait()
		if n := victim.Got(wire.KindAck); n != 100 || time.Since(began) > 0 {
			t.Errorf("%d of 100 answers after %v", n, time.Since(began))
		}
		if n := len(k.Text()); n != 406 {
			t.Errorf("%d bytes kept", n)
		}
		if s.Budget.Stalled() != 0 {
			t.Error("something waits")
		}
		victim.Conn.Close()
	})
}

// partial sends the first n bytes of frame, then the rest at rate bytes a second,
// a piece every 100 ms.
func partial(s *ingesttest.Sender, frame []byte, n, rate int) {
	s.Conn.Write(frame[:n])
	for frame = frame[n:]; len(frame) > 0 && rate > 0; {
		time.Sleep(100 * time.Millisecond)
		piece := min(len(frame), rate/10)
		if _, err := s.Conn.Write(frame[:piece]); err != nil {
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
		k := ingesttest.NewRecorder()
		k.Outcome = func(context.Context, wire.Batch) error { return ingesttest.ErrForget }
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		p := ingesttest.StartPipes(t, s)
		frame := ingesttest.Frame(1000, 0, wire.MaxText)
		oldest := p.Join(t, ingesttest.Addr(100), 1000)
		go partial(oldest, frame, 100<<10, 512<<10)
		synctest.Wait()
		var all []*ingesttest.Sender
		for i := range 240 {
			from := 1
			if i >= 200 {
				from = i
			}
			c := p.Join(t, ingesttest.Addr(from), i)
			all = append(all, c)
			go partial(c, ingesttest.Frame(i, 0, wire.MaxText), 300<<10, 0) // ends with the connection, at the latest
		}
		synctest.Wait()
		if limit := int64(24<<20)/2 + wire.MaxText; s.Budget.Used() > limit || s.Budget.Arriving() < (24<<20)/8 {
			t.Errorf("%d bytes used, %d arriving; the limit for both is %d", s.Budget.Used(), s.Budget.Arriving(), limit)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if oldest.Got(wire.KindAck) != 1 || oldest.Gone() {
			t.Error("the oldest frame did not become complete")
		}
		later := 0
		for i, c := range all {
			later += c.Got(wire.KindLater)
			if !c.Gone() || c.Got(wire.KindFault) != 1 {
				t.Errorf("%d: ended %v, %d faults", i, c.Gone(), c.Got(wire.KindFault))
			}
		}
		t.Logf("%d of 240 got \"later\"", later)
		if later < 120 || s.Budget.Stalled() != 0 || s.Budget.Arriving() != 0 {
			t.Errorf("%d got \"later\", waiting for %v, %d bytes arriving", later, s.Budget.Stalled(), s.Budget.Arriving())
		}
		for _, c := range all {
			c.Conn.Close()
		}
		oldest.Conn.Close()
	})
}

// TestFullDisk: while nothing can be written for minutes, memory is used up, and
// no agent is disconnected: each hears in time that the collector lives.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		mended := make(chan struct{})
		k.Outcome = func(context.Context, wire.Batch) error { <-mended; return ingesttest.ErrForget }
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		p := ingesttest.StartPipes(t, s)
		const agents, frames = 90, 8
		var all []*ingesttest.Sender
		for i := range agents {
			if i == 60 {
				time.Sleep(10 * time.Second) // the others come when the memory is used up
			}
			c := p.Join(t, ingesttest.Addr(i%200), i)
			all = append(all, c)
			go func() { // ends with the connection
				for n := range frames {
					c.Conn.Write(ingesttest.Frame(i, n, 1<<20-n*50_000))
				}
				var err error
				for ; err == nil; _, err = c.Conn.Write(wire.AppendPing(nil, wire.KindPing, 1)) {
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
			if c.Gone() || c.Got(wire.KindAck) != frames || c.Gap() > 10*time.Second {
				t.Errorf("agent %d: gone %v, %d of %d answers, the longest silence was %v", i, c.Gone(), c.Got(wire.KindAck), frames, c.Gap())
			}
			c.Conn.Close()
		}
		time.Sleep(5 * time.Second)
	})
}

// TestUnreadArrival: a frame that does not end holds nothing from when it is given up, however long the
// answers to others wait for an agent that does not read.
func TestUnreadArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome, AgentTimeout: 10 * time.Second}
		s.FrameTimeout = time.Hour
		p := ingesttest.StartPipes(t, s)
		nc := p.Dial(ingesttest.Addr(1), 1)
		nc.Write(ingesttest.Hello("a", ingesttest.InstanceA, 1))
		var f wire.Frame
		if err := wire.NewDecoder(nc).Next(&f); err != nil || f.Kind != wire.KindWelcome {
			t.Fatal(f.Kind, err)
		}
		nc.Write(ingesttest.Data(1, 0, "abc\n"))
		nc.Write(ingesttest.Frame(1, 2, wire.MaxText)[:1<<20])
		synctest.Wait()
		if s.Budget.Arriving() == 0 {
			t.Error("no frame has begun")
		}
		time.Sleep(20 * time.Second)
		if n := s.Budget.Arriving(); n > 0 || s.Open(t) != 1 {
			t.Errorf("%d bytes are held for it by %d connections", n, s.Open(t))
		}
		nc.Close()
	})
}

// TestEveryFrameEnds: frames of any size at any rate, over connections of any
// past, with all the memory used up: each becomes complete or is ended.
func TestEveryFrameEnds(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			k := ingesttest.NewRecorder()
			k.Outcome = func(context.Context, wire.Batch) error {
				time.Sleep(time.Millisecond)
				return ingesttest.ErrForget
			}
			s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Budget: &ingest.Budget{Limit: 8 << 20 << r.IntN(2)}}
			p := ingesttest.StartPipes(t, s)
			var all []*ingesttest.Sender
			var expected []int
			for i := range 60 {
				c := p.Join(t, ingesttest.Addr(r.IntN(40)), i)
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
						c.Conn.Write(ingesttest.Frame(i, 1, first))
					}
					partial(c, ingesttest.Frame(i, 2, size), min(size, head), rate)
				}()
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			for i, c := range all {
				if acks := c.Got(wire.KindAck); acks != expected[i] && !c.Gone() {
					t.Errorf("seed %d: connection %d has %d answers of %d and goes on", seed, i, acks, expected[i])
				}
				c.Conn.Close()
			}
			synctest.Wait()
			if s.Budget.Stalled() != 0 || s.Budget.Arriving() != 0 || s.Budget.Used() != 0 {
				t.Errorf("seed %d: waiting for %v, %d bytes arriving, %d used", seed, s.Budget.Stalled(), s.Budget.Arriving(), s.Budget.Used())
			}
		})
	}
}

// TestTrustedStall: connections that have proven themselves, and then stall
// within large frames, are dismissed in seconds.
func TestTrustedStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		k.Outcome = func(context.Context, wire.Batch) error { return ingesttest.ErrForget }
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		p := ingesttest.StartPipes(t, s)
		var all []*ingesttest.Sender
		for i := range 12 {
			c := p.Join(t, ingesttest.Addr(i+1), i)
			c.Conn.Write(ingesttest.Frame(i, 1, 1<<20))
			all = append(all, c)
			go partial(c, ingesttest.Frame(i, 2, wire.MaxText), 1100<<10, 0) // ends with the connection
		}
		victim := p.Join(t, ingesttest.Addr(100), 100)
		victim.Conn.Write(ingesttest.Frame(100, 1, 256<<10))
		synctest.Wait()
		before := s.Budget.Arriving()
		go victim.Conn.Write(ingesttest.Frame(100, 2, 1<<20))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if victim.Got(wire.KindAck) != 2 || before < (24<<20)*3/8 {
			t.Errorf("%d answers, %d bytes arriving before", victim.Got(wire.KindAck), before)
		}
		for _, c := range append(all, victim) {
			c.Conn.Close()
		}
	})
}

// TestSlowLink: over a link of 16 KiB/s a large frame becomes complete while
// memory is not scarce; while it is, small ones do, as an agent sends that halves
// its batches.
func TestSlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		k.Outcome = func(context.Context, wire.Batch) error { return ingesttest.ErrForget }
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		p := ingesttest.StartPipes(t, s)
		alone := p.Join(t, ingesttest.Addr(1), 1)
		partial(alone, ingesttest.Frame(1, 1, 1<<20), 100, 16<<10)
		synctest.Wait()
		if alone.Got(wire.KindAck) != 1 {
			t.Error("a frame of 1 MiB did not become complete, although there was no other sender")
		}
		alone.Conn.Close()
		attacking := make(chan struct{})
		for i := range 60 {
			go func() { // ends with attacking
				for n := 0; ; n++ {
					select {
					case <-attacking:
						return
					default:
						c, ended := &ingesttest.Sender{Conn: p.Dial(ingesttest.Addr(10+i), 1)}, make(chan struct{})
						go func() { // ends with the connection
							io.Copy(io.Discard, c.Conn)
							close(ended)
						}()
						c.Conn.Write(ingesttest.Hello(fmt.Sprint("attacker", i), ingesttest.InstanceA, int64(n)))
						partial(c, ingesttest.Frame(i, 0, wire.MaxText), 300<<10, 64<<10)
						c.Conn.Close()
						<-ended
					}
				}
			}()
		}
		size, acked := 256<<10, 0
		for n := 0; acked < 4 && n < 50; n++ {
			time.Sleep(time.Second)
			c := p.Join(t, ingesttest.Addr(2), 1000)
			for i := 0; acked < 4 && !c.Gone(); i++ {
				before := c.Got(wire.KindAck)
				partial(c, ingesttest.Frame(1000, i, size), 100, 16<<10)
				synctest.Wait()
				if c.Got(wire.KindAck) == before {
					size = max(size/2, 16<<10)
					break
				}
				acked++
			}
			c.Conn.Close()
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
