package stream_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/lines"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// TestRefusedAgent: an agent for which there is no connection left gets a fault that
// explains it; others are closed, and nothing waits for them.
func TestRefusedAgent(t *testing.T) {
	for name, s := range map[string]*ingesttest.TCP{"in all": {Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxConns: 1}}, "of one address": {Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxConnsPerIP: 1}}} {
		t.Run(name, func(t *testing.T) {
			addr := ingesttest.Start(t, s)
			from := func(ip byte) *ingesttest.Client {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, ip)}}
				nc, err := d.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { nc.Close() })
				nc.SetDeadline(time.Now().Add(20 * time.Second))
				return ingesttest.NewClient(t, nc)
			}
			first := from(2)
			first.Send(ingesttest.Hello("a", ingesttest.InstanceA, 1))
			first.Want(wire.KindWelcome)
			var silent []*ingesttest.Client
			for range stream.MaxBeyond + 10 {
				silent = append(silent, from(2))
			}
			for _, c := range silent {
				if _, err := io.WriteString(c.Conn, "a line\n"); err == nil {
					io.Copy(io.Discard, c.Conn)
				}
			}
			wantReason(t, func() *ingesttest.Client { return from(2) })
			if name == "of one address" {
				other := from(1)
				other.Send(ingesttest.Hello("c", ingesttest.InstanceA, 1))
				other.Want(wire.KindWelcome)
				local := from(1)
				local.Send(ingesttest.Hello("d", ingesttest.InstanceA, 1))
				local.Want(wire.KindWelcome)
			}
		})
	}
}

// wantReason connects agents until one is refused with the reason. One that comes before
// the refused connections are gone is closed without a word.
func wantReason(t *testing.T, dial func() *ingesttest.Client) {
	t.Helper()
	var f wire.Frame
	waittest.Until(t, "the reason of a refusal", func() bool {
		agent := dial()
		_, err := agent.Conn.Write(ingesttest.Hello("b", ingesttest.InstanceA, 1))
		return err == nil && agent.Dec.Next(&f) == nil
	})
	if f.Kind != wire.KindFault || !strings.Contains(f.Reason, "too many connections") {
		t.Errorf("a refused agent gets %+v", f)
	}
}

// TestYield: at the limit, the plain connection that was silent longest, of the
// address that has most, is closed for a new one, and what it sent is kept.
// Agents, and connections that were not silent for long, do not yield.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxConns: 5}}
		p := ingesttest.StartPipes(t, s)
		agent := p.Join(t, ingesttest.Addr(3), 1)
		plain := func(from netip.Addr, port int, text string) (net.Conn, *bool) {
			nc, ended := p.Dial(from, port), new(bool)
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
		oldest, oldestEnded := plain(ingesttest.Addr(2), 2, "oldest\n")
		time.Sleep(time.Second)
		first, firstEnded := plain(ingesttest.Addr(3), 3, "first, half")
		second, secondEnded := plain(ingesttest.Addr(3), 4, "second\n")
		time.Sleep(time.Millisecond) // of two that are silent equally long, either yields
		_, silentEnded := plain(ingesttest.Addr(3), 5, "")
		stopPings := make(chan struct{})
		go func() { // ends below
			for {
				select {
				case <-time.After(5 * time.Second):
					agent.Conn.Write(wire.AppendPing(nil, wire.KindPing, 1))
				case <-stopPings:
					return
				}
			}
		}()
		time.Sleep(time.Second)
		_, refused := plain(ingesttest.Addr(4), 6, "")
		time.Sleep(stream.RefuseTime)
		synctest.Wait()
		if !*refused || *firstEnded {
			t.Error("a connection yielded that was not silent for long")
		}
		time.Sleep(stream.YieldAfter - 4*time.Second)
		second.Write([]byte("second again\n"))
		time.Sleep(3 * time.Second)
		_, ended := plain(ingesttest.Addr(4), 7, "new\n")
		if *ended || !*firstEnded || *oldestEnded || *secondEnded || *silentEnded {
			t.Errorf("ended: new %v, first %v, oldest %v, second %v, silent %v", *ended, *firstEnded, *oldestEnded, *secondEnded, *silentEnded)
		}
		if agent.Gone() {
			t.Error("an agent yielded")
		}
		if want := "oldest\nsecond\nsecond again\nfirst, half\nnew\n"; k.Text() != want {
			t.Errorf("kept %q, want %q", k.Text(), want)
		}
		if n := s.Rejected(t, "displaced"); n != 1 {
			t.Errorf("%d counted", n)
		}
		close(stopPings)
		for _, c := range []net.Conn{oldest, first, second, agent.Conn} {
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
		k := ingesttest.NewRecorder()
		stuck := make(chan struct{})
		k.Outcome = func(context.Context, wire.Batch) error { <-stuck; return nil }
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxConns: 4}}
		p := ingesttest.StartPipes(t, s)
		var all []net.Conn
		dial := func() {
			nc := p.Dial(ingesttest.Addr(1), len(all)+1)
			all = append(all, nc)
			go io.WriteString(nc, "line\n") // ends with the connection
			go io.Copy(io.Discard, nc)      // likewise
			synctest.Wait()
			time.Sleep(stream.YieldAfter + time.Second)
			synctest.Wait()
		}
		for range 12 {
			dial()
			if n := int(s.Open(t)); n > s.MaxConns+stream.DisplacedAtOnce(s.MaxConns) {
				t.Fatalf("%d connections of %d", n, s.MaxConns)
			}
		}
		if n := s.Rejected(t, "max_conns"); n != 12-5 {
			t.Errorf("%v were refused", n)
		}
		close(stuck)
		synctest.Wait()
		dial()
		if got, want := k.Text(), 6; lines.Count([]byte(got)) != want || s.Open(t) != 4 {
			t.Errorf("kept %q, and %v connections", got, s.Open(t))
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
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxConnsPerIP: 2}}
		p := ingesttest.StartPipes(t, s)
		var all []net.Conn
		for i, from := range []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::3"} {
			agent := p.Join(t, netip.MustParseAddr(from), i)
			agent.Conn.Write(ingesttest.Frame(i, 1, 10))
			all = append(all, agent.Conn)
		}
		_, batches := k.Wait(t, func(_ string, batches []wire.Batch) bool { return len(batches) == 3 })
		for i, want := range []string{network, network, "2001:db8:0:2::/64"} {
			if got := batches[i].Address; got != want {
				t.Errorf("the address of streams is %s, want %s", got, want)
			}
		}
		all = append(all, p.Dial(netip.MustParseAddr("2001:db8:0:1::4"), 9))
		synctest.Wait()
		if n := s.Rejected(t, "max_conns_per_ip"); n != 1 {
			t.Errorf("%d were refused", n)
		}
		for _, nc := range all {
			nc.Close()
		}
		synctest.Wait()
		for i := range 2 { // those that are gone count no more
			p.Join(t, netip.MustParseAddr("2001:db8:0:1::5"), 20+i).Conn.Close()
			synctest.Wait()
		}
	})
}

// TestYieldHalfGreeting: a connection that yields in the middle of a greeting is counted.
func TestYieldHalfGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxConns: 1, HandshakeTimeout: time.Hour}}
		p := ingesttest.StartPipes(t, s)
		half := p.Dial(ingesttest.Addr(2), 1)
		io.WriteString(half, wire.Magic[:2])
		time.Sleep(stream.YieldAfter + time.Second)
		io.WriteString(p.Dial(ingesttest.Addr(3), 1), "a line\n")
		io.Copy(io.Discard, half)
		synctest.Wait()
		if n := s.Rejected(t, "handshake"); n != 1 {
			t.Errorf("%v connections are counted, want 1", n)
		}
	})
}
