package ingest

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/origin"
	"fanin/internal/wire"
)

// An address sends as fast as it may over any number of connections, plain or an
// agent's, and others are not slowed.
func TestMaxRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		k := newKeeper()
		s := &TCP{Out: k, Welcome: welcome, MaxRate: rate}
		p := servePipes(t, s)
		agent, other := p.join(t, addr(1), 9), p.join(t, addr(2), 10)
		began := time.Now()
		var senders sync.WaitGroup
		for n := range 4 {
			nc := p.dial(addr(1), n+1)
			senders.Go(func() { // ends when all is sent
				nc.Write([]byte(manyLines(wire.MaxText)))
				nc.Close()
			})
		}
		senders.Go(func() { agent.nc.Write(batchOf(9, 1, wire.MaxText)) })
		other.nc.Write(batchOf(10, 1, rate/2))
		synctest.Wait()
		if other.told(wire.KindAck) != 1 || time.Since(began) > 0 {
			t.Errorf("another address: %d answers after %v", other.told(wire.KindAck), time.Since(began))
		}
		senders.Wait()
		took := time.Since(began)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if want := 5*wire.MaxText/rate - 1; took < time.Duration(want-1)*time.Second || took > time.Duration(want+1)*time.Second {
			t.Errorf("took %v, want %d s", took, want)
		}
		if agent.told(wire.KindAck) != 1 || len(k.kept()) != 5*wire.MaxText+rate/2 || count(s.Metrics.slowed) == 0 {
			t.Errorf("%d answers, %d bytes kept, slowed %d times", agent.told(wire.KindAck), len(k.kept()), count(s.Metrics.slowed))
		}
		agent.nc.Close()
		other.nc.Close()
	})
}

// An agent of an address that has sent too much already is welcomed at once, and what its
// hello brought is charged then.
func TestMaxRateWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10_000
		k := newKeeper()
		s := &TCP{Out: k, Welcome: welcome, MaxRate: rate}
		p := servePipes(t, s)
		synctest.Wait()
		s.rates.charge(addr(1), 6*rate, time.Now())
		nc := p.dial(addr(1), 2)
		began, owed := time.Now(), s.rates.debt[origin.Network(addr(1))].bytes
		go nc.Write(hello("a", instanceA, 1)) // ends with the connection
		var f wire.Frame
		d := wire.NewDecoder(nc)
		if err := d.Next(&f); err != nil || f.Kind != wire.KindWelcome || time.Since(began) > 0 {
			t.Errorf("the first frame is of kind %d, after %v: %v", f.Kind, time.Since(began), err)
		}
		synctest.Wait()
		if got := s.rates.debt[origin.Network(addr(1))].bytes; owed < 5*rate || got <= owed {
			t.Errorf("the address owes %v bytes, and owed %v before the hello", got, owed)
		}
		go nc.Write(wire.AppendPing(nil, wire.KindPing, 7)) // ends with the connection
		for f.Kind != wire.KindPong || f.N != 7 {
			if err := d.Next(&f); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
			t.Errorf("the agent was read again after %v", took)
		}
		nc.Close()
	})
}

// Datagrams beyond an address's rate are not allowed, whatever their size, others
// are, and the table of addresses is bounded.
func TestRates(t *testing.T) {
	r := rates{limit: 1000}
	now := time.Now()
	got := 0
	for range 100 {
		for range 100 {
			if r.allow(addr(1), 50, now) {
				got += 50
			}
			now = now.Add(time.Millisecond)
		}
		if !r.allow(addr(2), 50, now) {
			t.Fatal("another address is not allowed to send")
		}
	}
	if got < 10_500 || got > 11_100 {
		t.Errorf("%d bytes in 10 s at 1000 a second", got)
	}
	if !r.allow(addr(3), 5000, now) || r.allow(addr(3), 1, now) {
		t.Error("one large datagram")
	}
	for i := range 3 * maxDebts {
		r.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 10, now)
	}
	if len(r.debt) > maxDebts {
		t.Errorf("%d addresses", len(r.debt))
	}
}

// What is dropped of datagrams is counted, and said in the log.
func TestMaxRateUDP(t *testing.T) {
	k := newKeeper()
	var mu sync.Mutex
	var notices []string
	u := &UDP{Out: k, MaxRate: 1000, Notice: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		notices = append(notices, fmt.Sprintf(format, args...))
	}}
	to, stop := serveUDP(t, u, "127.0.0.1:0")
	c := dialUDP(t, to)
	const sent = 100
	for range sent {
		c.Write([]byte(strings.Repeat("x", 99)))
	}
	stop()
	kept, dropped := strings.Count(k.kept(), "\n"), count(u.Metrics.overRate)
	if kept+dropped != sent || kept < 10 || kept > 50 {
		t.Errorf("%d kept, %d dropped of %d", kept, dropped, sent)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(strings.Join(notices, " "), "reason=udp-rate") {
		t.Errorf("notices %q", notices)
	}
}
