package ingest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrowdComesBack: thousands of connections whose first text is a backlog that has come already, and others that go
// on sending, want more memory than there is, and it is released slowly. All texts become complete, none is dismissed
// since it had to wait, and the first texts do not wait for all others.
func TestCrowdComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Budget{Limit: 8 << 20}
		const (
			first  = 500
			others = 1500
			size   = 20 << 10
		)
		written := make(chan struct{}, 1) // one at a time, as the log is
		write := func() {
			written <- struct{}{}
			time.Sleep(time.Millisecond)
			<-written
		}
		text := func(g *grower) error {
			g.clock.Reset()
			var b []byte
			for len(b) < size {
				more, err := g.grow(t.Context(), b, size)
				if err != nil {
					g.a.Done(false)
					m.Release(b)
					return err
				}
				g.clock.Add(len(more) - len(b))
				b = more
			}
			g.a.Done(true)
			write()
			m.Release(b)
			return nil
		}
		end, stop := context.WithCancel(t.Context())
		defer stop()
		var comeBack, goOn sync.WaitGroup
		for n := range others {
			goOn.Go(func() { // ends with stop
				g := newGrower(m, n)
				g.a.proven = size
				for end.Err() == nil {
					if err := text(g); err != nil {
						t.Errorf("one that goes on: %v", err)
						return
					}
				}
				m.Leave(g.peer, g.a)
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		for n := range first {
			comeBack.Go(func() {
				g := newGrower(m, others+n)
				g.a.Expect(func() int { return size })
				if err := text(g); err != nil {
					t.Errorf("one that comes back, after %v: %v", time.Since(began), err)
				}
				m.Leave(g.peer, g.a)
			})
		}
		comeBack.Wait()
		if took, all := time.Since(began), (first+others)*time.Millisecond; took > 3*all {
			t.Errorf("all came back after %v; written at once all take %v", took, all)
		}
		stop()
		goOn.Wait()
		if m.Used() != 0 {
			t.Errorf("%d used at the end", m.Used())
		}
	})
}
