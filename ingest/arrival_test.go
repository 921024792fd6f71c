package ingest

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestNotTheSendersFault: an arrival that waits behind others is not ended for it
// while nothing is written; when writing goes on and it still waits, it is.
func TestNotTheSendersFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Budget{Limit: 8 << 20}
		var blocks [][]byte
		arrive := func(n int) (*Arrival, func(have []byte) ([]byte, error)) {
			k := new(FrameClock)
			a := r.Arrive(testAddr(n), k, func() {})
			return a, func(have []byte) ([]byte, error) {
				return a.Grow(t.Context(), have, 1<<20, func(f func() error) error {
					k.Pause()
					defer k.Resume()
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
			r.Leave(testAddr([]int{0, 1, 2, 3, 4, 9}[i]), a)
		}
		if r.Used() != 0 || r.Arriving() != 0 || len(r.addresses) != 0 {
			t.Errorf("%d used, %d arriving, %d addresses", r.Used(), r.Arriving(), len(r.addresses))
		}
	})
}

// TestOldestArrival: the oldest arrival is the oldest in each of its scopes, also when it is
// not trusted any more since its labels turned out to precede a large text.
func TestOldestArrival(t *testing.T) {
	m := &Budget{Limit: 8 << 20}
	grow := func(a *Arrival, have []byte, n int) []byte {
		b, err := a.Grow(t.Context(), have, n, func(f func() error) error { return f() })
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, second := m.Arrive(testAddr(1), new(FrameClock), func() {}), m.Arrive(testAddr(2), new(FrameClock), func() {})
	m.Release(grow(first, nil, 1000))
	first.Done(true)                // proven
	labels := grow(first, nil, 100) // trusted
	other := grow(second, nil, 1<<20)
	text := grow(first, labels, 1<<20)
	unproven := slices.Collect(m.unproven.members.all())
	if m.all.members.first() != first || !slices.Equal(unproven, []*Arrival{first, second}) {
		t.Error("the oldest arrival is not the oldest of those that have not proven themselves")
	}
	if want := first.held + second.held; m.unproven.used != want {
		t.Errorf("%d bytes are those of arrivals that have not proven themselves, want %d", m.unproven.used, want)
	}
	m.Release(other)
	m.Release(text)
	m.Leave(testAddr(1), first)
	m.Leave(testAddr(2), second)
	if m.Used() != 0 || m.Arriving() != 0 || m.unproven.used != 0 {
		t.Errorf("%d used, %d arriving, %d unproven", m.Used(), m.Arriving(), m.unproven.used)
	}
}

func testAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2 + byte(n>>8), byte(n)}) }

// TestPatientArrival: an arrival whose sender cannot send again waits for as long as the oldest one
// waits for a slow log, and then goes on.
func TestPatientArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Budget{Limit: 8 << 20}
		var clocks [2]FrameClock
		first, second := m.Arrive(testAddr(1), &clocks[0], func() {}), m.Arrive(testAddr(2), &clocks[1], func() {})
		second.Wait()
		grow := func(a *Arrival, k *FrameClock, have []byte) []byte {
			b, err := a.Grow(t.Context(), have, 4<<20, func(f func() error) error {
				k.Pause()
				defer k.Resume()
				return f()
			})
			if err != nil {
				t.Errorf("the arrival was dismissed: %v", err)
			}
			return b
		}
		held := grow(first, &clocks[0], nil)
		clocks[0].Pause() // until the log is less busy
		done := make(chan []byte)
		go func() { // ends when the first is complete
			var b []byte
			for len(b) < 4<<20 && !t.Failed() {
				b = grow(second, &clocks[1], b)
			}
			done <- b
		}()
		for range 600 { // the log is slow, and goes on
			time.Sleep(sweepEvery)
			m.Release(m.TryAcquire(1))
		}
		m.Leave(testAddr(1), first)
		m.Release(held)
		m.Release(<-done)
		m.Leave(testAddr(2), second)
		if m.Used() != 0 || m.Arriving() != 0 {
			t.Errorf("%d used, %d arriving", m.Used(), m.Arriving())
		}
	})
}
