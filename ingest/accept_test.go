package ingest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// TestRefusedAgent: an agent for which there is no connection left is told so;
// others are closed, and none of them is waited for.
func TestRefusedAgent(t *testing.T) {
	for name, s := range map[string]*TCP{
		"in all":         {Out: newKeeper(), Welcome: welcome, MaxConns: 1},
		"of one address": {Out: newKeeper(), Welcome: welcome, MaxConnsPerIP: 1},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serveTCP(t, s)
			from := func(ip byte) *client {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, ip)}}
				nc, err := d.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { nc.Close() })
				nc.SetDeadline(time.Now().Add(20 * time.Second))
				return newClient(t, nc)
			}
			first := from(2)
			first.send(hello("a", instanceA, 1))
			first.want(wire.KindWelcome)
			var silent []*client
			for range maxBeyond + 10 {
				silent = append(silent, from(2))
			}
			for _, c := range silent {
				if _, err := io.WriteString(c.nc, "a line\n"); err == nil {
					io.Copy(io.Discard, c.nc)
				}
			}
			agent := from(2)
			agent.send(hello("b", instanceA, 1))
			agent.fault("too many connections")
			if name == "of one address" {
				other := from(1)
				other.send(hello("c", instanceA, 1))
				other.want(wire.KindWelcome)
				local := from(1)
				local.send(hello("d", instanceA, 1))
				local.want(wire.KindWelcome)
			}
		})
	}
}

// TestYield: at the limit, the plain connection that was silent longest, of the
// address that has most, is closed for a new one, and what it sent is kept.
// Agents, and connections that were not silent for long, do not yield.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		s := &TCP{Out: k, Welcome: welcome, MaxConns: 5}
		p := servePipes(t, s)
		agent := p.join(t, addr(3), 1)
		plain := func(from netip.Addr, port int, text string) (net.Conn, *bool) {
			nc, ended := p.dial(from, port), new(bool)
			go func() { // ends with the connection
				io.Copy(io.Discard, nc)
				*ended = true
			}()
			synctest.Wait()
			if text != "" {
				nc.Write([]byte(text))
			}
			synctest.Wait()
			return nc, ended
		}
		oldest, oldestEnded := plain(addr(2), 2, "oldest\n")
		time.Sleep(time.Second)
		first, firstEnded := plain(addr(3), 3, "first, half")
		second, secondEnded := plain(addr(3), 4, "second\n")
		time.Sleep(time.Millisecond) // of two that are silent equally long, either yields
		_, silentEnded := plain(addr(3), 5, "")
		stopPings := make(chan struct{})
		go func() { // ends below
			for {
				select {
				case <-time.After(5 * time.Second):
					agent.nc.Write(wire.AppendPing(nil, wire.KindPing, 1))
				case <-stopPings:
					return
				}
			}
		}()
		time.Sleep(time.Second)
		_, refused := plain(addr(4), 6, "")
		time.Sleep(refuseTime)
		synctest.Wait()
		if !*refused || *firstEnded {
			t.Error("a connection yielded that was not silent for long")
		}
		time.Sleep(yieldAfter - 4*time.Second)
		second.Write([]byte("second again\n"))
		time.Sleep(3 * time.Second)
		_, ended := plain(addr(4), 7, "new\n")
		if *ended || !*firstEnded || *oldestEnded || *secondEnded || *silentEnded {
			t.Errorf("ended: new %v, first %v, oldest %v, second %v, silent %v", *ended, *firstEnded, *oldestEnded, *secondEnded, *silentEnded)
		}
		if agent.gone() {
			t.Error("an agent yielded")
		}
		if want := "oldest\nsecond\nsecond again\nfirst, half\nnew\n"; k.kept() != want {
			t.Errorf("kept %q, want %q", k.kept(), want)
		}
		if n := count(s.Metrics.rejected["displaced"]); n != 1 {
			t.Errorf("%d counted", n)
		}
		close(stopPings)
		for _, c := range []net.Conn{oldest, first, second, agent.nc} {
			c.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.Shutdown(ctx)
	})
}

// TestYieldStuck: a connection that yields is there until its lines are written. While the
// keeper writes nothing, only a few can be there beyond max_conns; then it goes on.
func TestYieldStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		stuck := make(chan struct{})
		k.outcome = func(context.Context, wire.Batch) error { <-stuck; return nil }
		s := &TCP{Out: k, Welcome: welcome, MaxConns: 4}
		p := servePipes(t, s)
		var all []net.Conn
		dial := func() {
			nc := p.dial(addr(1), len(all)+1)
			all = append(all, nc)
			go io.WriteString(nc, "line\n") // ends with the connection
			go io.Copy(io.Discard, nc)      // likewise
			synctest.Wait()
			time.Sleep(yieldAfter + time.Second)
			synctest.Wait()
		}
		for range 12 {
			dial()
			if n := int(count(s.Metrics.openConns)); n > s.MaxConns+displacedAtOnce(s.MaxConns) {
				t.Fatalf("%d connections of %d", n, s.MaxConns)
			}
		}
		if n := count(s.Metrics.rejected["max_conns"]); n != 12-5 {
			t.Errorf("%v were refused", n)
		}
		close(stuck)
		synctest.Wait()
		dial()
		if got, want := k.kept(), 6; lines.Count([]byte(got)) != want || count(s.Metrics.openConns) != 4 {
			t.Errorf("kept %q, and %v connections", got, count(s.Metrics.openConns))
		}
		for _, nc := range all {
			nc.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.Shutdown(ctx)
	})
}

// TestIPv6Network: what is bounded by address is bounded for an IPv6 network as a whole, since
// one customer may have all its addresses: connections, and what streams are counted by.
func TestIPv6Network(t *testing.T) {
	const network = "2001:db8:0:1::/64"
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		s := &TCP{Out: k, Welcome: welcome, MaxConnsPerIP: 2}
		p := servePipes(t, s)
		var all []net.Conn
		for i, from := range []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::3"} {
			agent := p.join(t, netip.MustParseAddr(from), i)
			agent.nc.Write(batchOf(i, 1, 10))
			all = append(all, agent.nc)
		}
		_, batches := k.wait(t, func(_ string, batches []wire.Batch) bool { return len(batches) == 3 })
		for i, want := range []string{network, network, "2001:db8:0:2::/64"} {
			if got := batches[i].Address; got != want {
				t.Errorf("the address of streams is %s, want %s", got, want)
			}
		}
		all = append(all, p.dial(netip.MustParseAddr("2001:db8:0:1::4"), 9))
		synctest.Wait()
		if n := count(s.Metrics.rejected["max_conns_per_ip"]); n != 1 {
			t.Errorf("%d were refused", n)
		}
		for _, nc := range all {
			nc.Close()
		}
		synctest.Wait()
		if len(s.perIP) != 0 {
			t.Errorf("still counted: %v", s.perIP)
		}
	})
	if got, want := newSorter(new(UDP), nil).names(netip.MustParseAddr("2001:db8:0:1::9")), (peerNames{"2001:db8:0:1::9", network}); got != want {
		t.Errorf("of a datagram: %+v, want %+v", got, want)
	}
}
