package access

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestAttempts: an address may fail a few times, each with a notice; the rest is refused faster, and
// is in the next notice. A token that is known is accepted all the same, and so are other addresses.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolicy(t, Rule{Role: Read, Tokens: tokens(t, "good")})
		noticed := make(map[string][]int)
		p.Failed = func(peer Peer, failures int) { a := peer.Address.String(); noticed[a] = append(noticed[a], failures) }
		reason := func(address, token string) string {
			_, err := p.Identify(overTLS(address), token)
			if err == nil {
				return ""
			}
			return err.(*Refused).Reason
		}
		for i := range 100 {
			want := ReasonToken
			if i >= burst {
				want = ReasonLimited
			}
			if got := reason("192.0.2.1", fmt.Sprint("bad", i)); got != want {
				t.Errorf("attempt %d: %s, want %s", i, got, want)
			}
		}
		if got := reason("192.0.2.1", "good"); got != "" {
			t.Errorf("the right token is refused: %s", got)
		}
		if got := reason("192.0.2.2", "bad"); got != ReasonToken {
			t.Errorf("another address: %s", got)
		}
		if n := noticed["192.0.2.1"]; len(n) != burst || n[0] != 1 || n[burst-1] != 1 {
			t.Errorf("the notices have %v failures", n)
		}
		time.Sleep(refill)
		if got := reason("192.0.2.1", "bad"); got != ReasonToken {
			t.Errorf("after a minute: %s", got)
		}
		if got := reason("192.0.2.1", "bad"); got != ReasonLimited {
			t.Errorf("and again: %s", got)
		}
		if n := noticed["192.0.2.1"]; len(n) != burst+1 || n[burst] != 91 {
			t.Errorf("the notices have %v failures", n)
		}
		time.Sleep(100 * refill)
		for range burst {
			if got := reason("192.0.2.1", "bad"); got != ReasonToken {
				t.Errorf("after a long time: %s", got)
			}
		}
	})
}

// TestAttemptsOfMany: neither many addresses nor a clock that is set back costs memory, or notices
// without end.
func TestAttemptsOfMany(t *testing.T) {
	a := newAttempts()
	now := time.Now()
	notices := 0
	fail := func(ip netip.Addr) (limited bool) {
		n, limited := a.fail(ip, now)
		if n > 0 {
			notices++
		}
		return limited
	}
	for i := range 3 * maxAttempts {
		fail(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(a.by) > maxAttempts || notices != manyBurst {
		t.Errorf("%d addresses are remembered, %d notices", len(a.by), notices)
	}
	if !fail(netip.MustParseAddr("192.0.2.1")) {
		t.Error("the addresses that are not remembered have no limit")
	}
	for i := range 100 { // one customer has the network
		limited := fail(netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", 1)))
		if limited != (i >= burst-1) {
			t.Errorf("failure %d: limited %v", i, limited)
		}
	}
	now = now.Add(time.Hour)
	if fail(netip.MustParseAddr("2001:db8::1")); len(a.by) != 1 {
		t.Errorf("%d addresses are remembered an hour later", len(a.by))
	}
	now = now.Add(-10 * 365 * 24 * time.Hour)
	for range burst {
		fail(netip.MustParseAddr("2001:db8::2"))
	}
	if !fail(netip.MustParseAddr("2001:db8::3")) {
		t.Error("a /64 has a limit for each of its addresses")
	}
	now = now.Add(refill)
	if fail(netip.MustParseAddr("2001:db8::3")) {
		t.Error("after the clock was set back the limit stays")
	}
}
