package ingest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A small block of the reserve that is kept for long does not keep a large request waiting for more than the reserve
// lacks, nor what is behind it.
func TestSmallLoanEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Budget{Limit: 24 << 20}
		var all [][]byte
		for b := m.TryAcquire(1 << 20); b != nil; b = m.TryAcquire(1 << 20) {
			all = append(all, b)
		}
		kept, err := m.Extend(t.Context(), 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 2)
		get := func(acquire func(context.Context, int) ([]byte, error), n int) {
			within, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			b, err := acquire(within, n)
			m.Release(b)
			served <- err
		}
		go get(m.Extend, 4<<20)
		synctest.Wait()
		for _, b := range all[:3] {
			m.Release(b)
		}
		go get(m.Acquire, 1<<10)
		for range 2 {
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
		for _, b := range append(all[3:], kept) {
			m.Release(b)
		}
		if m.Used() != 0 {
			t.Errorf("%d used at the end", m.Used())
		}
	})
}

// bringing has the senders of texts bring n bytes in each tick, until the end of the test.
func bringing(t *testing.T, tick time.Duration, n int, senders ...*grower) {
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go func() { // ends with stop
		for {
			select {
			case <-time.After(tick):
			case <-ctx.Done():
				return
			}
			for _, g := range senders {
				g.clock.Add(n)
			}
		}
	}()
}

// begins begins a text of n bytes, all of which the kernel has, but for what has been read of it.
func begins(t *testing.T, m *Budget, peer, n, came int) (*grower, []byte) {
	t.Helper()
	g := newGrower(m, peer)
	g.a.Expect(func() int { return came })
	within, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	b, err := g.grow(within, nil, n)
	if err != nil {
		t.Fatal(err)
	}
	g.clock.Add(came)
	return g, b
}

// What all unproven arrivals may have keeps one of them waiting, and not those that are trusted.
func TestUnprovenLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Budget{Limit: 24 << 20}
		oldest, _ := begins(t, m, 1, 4<<10, 2<<10)
		bringing(t, 50*time.Millisecond, 8<<10, oldest)
		var senders []*grower
		for n := range 2 {
			g, _ := begins(t, m, 10+n, 1<<20, 1<<20)
			senders = append(senders, g)
		}
		large, b := begins(t, m, 20, 4<<20, 512<<10)
		bringing(t, 50*time.Millisecond, 16<<10, append(senders, large)...)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go large.grow(ctx, b, 4<<20) // ends with stop
		synctest.Wait()
		var holders []*grower
		trusted := func(wait time.Duration) error {
			g := newGrower(m, 300+len(holders))
			g.a.proven = 64 << 10
			holders = append(holders, g)
			within, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			_, err := g.grow(within, nil, 64<<10)
			return err
		}
		for trusted(time.Millisecond) == nil { // until there is no more
		}
		waiting, served := holders[:4], make(chan error)
		for range waiting {
			go func() { served <- trusted(100 * time.Millisecond) }()
			synctest.Wait()
		}
		for _, g := range waiting {
			g.a.Done(true)
		}
		for range waiting {
			if err := <-served; err != nil {
				t.Errorf("%v, and %d of %d bytes are used", err, m.all.used, m.all.limit)
			}
		}
	})
}
