package ingest

import (
	"net/netip"
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

func testAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
