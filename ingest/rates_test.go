package ingest

import (
	"net/netip"
	"testing"
	"time"
)

// Datagrams beyond an address's rate are not allowed, whatever their size, others
// are, and the table of addresses is bounded.
func TestRates(t *testing.T) {
	r := NewRates(1000)
	now := time.Now()
	got := 0
	for range 100 {
		for range 100 {
			if r.Allow(testAddr(1), 50, now) {
				got += 50
			}
			now = now.Add(time.Millisecond)
		}
		if !r.Allow(testAddr(2), 50, now) {
			t.Fatal("another address is not allowed to send")
		}
	}
	if got < 10_500 || got > 11_100 {
		t.Errorf("%d bytes in 10 s at 1000 a second", got)
	}
	if !r.Allow(testAddr(3), 5000, now) || r.Allow(testAddr(3), 1, now) {
		t.Error("one large datagram")
	}
	for i := range 3 * maxDebts {
		r.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 10, now)
	}
	if len(r.debt) > maxDebts {
		t.Errorf("%d addresses", len(r.debt))
	}
}
