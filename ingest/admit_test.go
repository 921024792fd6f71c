package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// grower is a connection that sends one text after the other.
type grower struct {
	m     *Budget
	peer  netip.Addr
	a     *Arrival
	clock FrameClock
}

func newGrower(m *Budget, n int) *grower {
	g := &grower{m: m, peer: testAddr(n)}
	g.a = m.Arrive(g.peer, &g.clock, func() {})
	return g
}

func (g *grower) grow(ctx context.Context, have []byte, n int) ([]byte, error) {
	return g.a.Grow(ctx, have, n, func(f func() error) error {
		g.clock.Pause()
		defer g.clock.Resume()
		return f()
	})
}

// text sends a text of n bytes, with pauses: between blocks, as a slow sender has them.
func (g *grower) text(ctx context.Context, n int, pause func()) error {
	g.clock.Reset()
	var b []byte
	for len(b) < n {
		more, err := g.grow(ctx, b, n)
		if err != nil {
			g.a.Done(false)
			g.m.Release(b)
			return err
		}
		g.clock.Add(len(more) - len(b))
		b = more
		pause()
	}
	g.a.Done(true)
	g.m.Release(b)
	return nil
}

// checkReady reports what Budget.ready should be, and an arrival that should be served.
func (m *Budget) checkReady() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting := 0
	for _, s := range m.addresses {
		for rank := range s.waiting {
			for a := range s.waiting[rank].all() {
				waiting++
				if a.need <= 0 || a.address != s || a.rank() != rank {
					return fmt.Errorf("an arrival that waits for %d bytes is not known to its address", a.need)
				}
			}
			if fits := s.next(rank) != nil; fits != (s.place[rank] > 0) {
				return fmt.Errorf("an address that could be served: %v, is in ready: %v", fits, s.place[rank] > 0)
			}
		}
	}
	for range m.queue.all() {
		waiting--
	}
	if waiting != 0 {
		return fmt.Errorf("%d arrivals wait for their address, and not in the queue", waiting)
	}
	first := []*Arrival{m.all.members.first(), m.unproven.members.first()}
	for rank := range m.ready {
		r := &m.ready[rank]
		for i, s := range r.scopes {
			if s.place[rank] != i+1 || i > 0 && r.Less(i, (i-1)/2) {
				return fmt.Errorf("ready is no heap at %d", i)
			}
		}
	}
	next := m.ready[m.rank].first()
	first = append(first, next)
	if next == nil || m.all.fits(next, next.need) {
		first = append(first, m.ready[1-m.rank].first())
	}
	for _, a := range first {
		if a != nil && a.need > 0 && a.chargeLocked(a.need) {
			return fmt.Errorf("an arrival waits for %d bytes, which are there", a.need)
		}
	}
	return nil
}

// TestArrivalsServed: whatever connections of several addresses do at the same time, none waits that could
// be served, each text becomes complete or is dismissed, and nothing is left at the end.
func TestArrivalsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Budget{Limit: 8 << 20}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		complete, failed := make(chan int), make(chan int)
		const conns = 300
		for n := range conns {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			go func() { // ends with ctx
				c, f := 0, 0
				for ctx.Err() == nil {
					g := newGrower(m, n%(1+n%11))
					for ctx.Err() == nil && !g.a.Dismissed() {
						size := 1 << r.IntN(20)
						within, stop := context.WithTimeout(ctx, time.Duration(1+r.IntN(20))*time.Second)
						if g.text(within, size, func() { time.Sleep(time.Duration(r.IntN(1 << 27))) }) == nil {
							c++
						} else {
							f++
						}
						stop()
					}
					m.Leave(g.peer, g.a)
				}
				complete <- c
				failed <- f
			}()
		}
		waited := 0
		for ctx.Err() == nil && !t.Failed() {
			time.Sleep(7 * time.Millisecond) // of the bubble's clock: the next moment to look at
			synctest.Wait()
			if err := m.checkReady(); err != nil {
				t.Error(err)
				cancel()
			}
			if m.Stalled() > 0 {
				waited++
			}
		}
		c, f := 0, 0
		for range conns {
			c += <-complete
			f += <-failed
		}
		if c < 10*conns || f == 0 || waited == 0 {
			t.Errorf("%d complete, %d not, at %d moments some waited: nothing was tested", c, f, waited)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.used != 0 || m.all.used != 0 || len(m.addresses)+m.ready[0].Len()+m.ready[1].Len() != 0 || m.queue.first() != nil {
			t.Errorf("%d used, %d arriving, %d addresses, %d of them ready", m.used, m.all.used, len(m.addresses), m.ready[0].Len()+m.ready[1].Len())
		}
		t.Logf("%d texts complete, %d not", c, f)
	})
}

// BenchmarkArrivalsWaiting is the cost of a text while so many others wait for the memory of their address.
func BenchmarkArrivalsWaiting(b *testing.B) {
	for _, waiting := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			m := &Budget{Limit: 1 << 40}
			newGrower(m, 1).a.beginLocked(1) // the oldest
			for range waiting {
				a := newGrower(m, 1).a
				a.beginLocked(1 << 20)
				a.need = 1 << 50
				m.queue.add(&a.queued)
				a.address.waiting[unproven].add(&a.turn)
			}
			g := newGrower(m, 1)
			for b.Loop() {
				if err := g.text(b.Context(), 100, func() {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
