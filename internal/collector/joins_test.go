package collector

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/certs/certstest"
	"fanin/internal/join"
	"fanin/internal/origin"
)

// TestJoinsHeld: addresses that send nothing hold few places: each has one for joinPatience, and then none until
// it may fail again. A request of another address gets its place.
func TestJoinsHeld(t *testing.T) {
	var l joinLimits
	now := time.Now()
	silent := make([]netip.Addr, maxJoins/2)
	for i := range silent {
		silent[i] = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
	}
	held := make(map[netip.Addr]int)
	for range 200 { // all try again and again
		for _, peer := range silent {
			for l.begin(peer, now) == 0 {
				held[peer]++
			}
		}
		now = now.Add(joinPatience)
		for peer, n := range held {
			for range n {
				l.end(peer, true, now)
			}
		}
		clear(held)
	}
	for _, peer := range silent {
		for l.begin(peer, now) == 0 {
			held[peer]++
		}
		if held[peer] > 1 {
			t.Fatalf("an address that only fails holds %d places", held[peer])
		}
	}
	if wait := l.begin(netip.MustParseAddr("192.0.2.1"), now); wait != 0 {
		t.Errorf("%d silent addresses keep another one out for %v", len(silent), wait)
	}
}

// TestJoinSilence: a connection that sends no request, or half of one, is soon closed, and was a failure.
func TestJoinSilence(t *testing.T) {
	certificate := certstest.New(t).Sign("collector")
	synctest.Test(t, func(t *testing.T) {
		var malformed atomic.Int64
		j := &joins{counted: func(outcome string) {
			if outcome == joinMalformed {
				malformed.Add(1)
			}
		}}
		l := &stream.Listener{TLS: &stream.TLS{ByALPN: map[string]stream.Protocol{join.Protocol: j.serve},
			Config: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{join.Protocol}, SessionTicketsDisabled: true}}}
		p := ingesttest.NewPipes()
		go l.Serve(p) // ends by Shutdown
		peer, begun := netip.MustParseAddr("192.0.2.1"), time.Now()
		dial := func(port int) net.Conn {
			c := tls.Client(p.Dial(peer, port), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{join.Protocol}})
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			return c
		}
		silent, half := dial(1), dial(2)
		request := (&join.Request{Kind: join.Join, Name: "web-1", CSR: make([]byte, 99)}).Append(nil)
		half.Write(request[:20])
		synctest.Wait()
		open := func() int {
			j.limits.mu.Lock()
			defer j.limits.mu.Unlock()
			return j.limits.open
		}
		if n := open(); n != 2 {
			t.Errorf("%d requests are open", n)
		}
		time.Sleep(joinPatience / 2)
		half.Write(request[20:40]) // gives it no more time
		for _, nc := range []net.Conn{silent, half} {
			if b, err := io.ReadAll(nc); err != nil || !strings.Contains(string(b), "cannot be read") {
				t.Errorf("it is answered %q, %v", b, err)
			}
		}
		if took := time.Since(begun); took < joinPatience || took > joinPatience+stream.LingerTime+time.Second {
			t.Errorf("they are closed after %v", took)
		}
		synctest.Wait()
		if n := open(); n != 0 || malformed.Load() != 2 || !j.limits.of[origin.Network(peer)].failed.After(time.Now()) {
			t.Errorf("%d are open, %d malformed, and %+v", n, malformed.Load(), j.limits.of)
		}
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
