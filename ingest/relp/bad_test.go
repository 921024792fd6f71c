package relp

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/relp/relptest"
	"fanin/ingest/stream"
	"fanin/internal/wire"
)

const helloFrame = "1 open 30 relp_version=0\ncommands=syslog\n"

// What a peer sends that is wrong ends its session, is counted under its reason, and takes nothing from
// what came before.
func TestBadInput(t *testing.T) {
	s := start(t, &Protocol{MaxMessage: 2000})
	want := ""
	for i, x := range []struct{ text, reason string }{
		{"<13>not RELP\n", "protocol"},
		{"GET / HTTP/1.1\r\n\r\n", "protocol"},
		{"1 syslog 5 early\n", "no_open"},
		{helloFrame + "2 syslog 1 a\n3 syslog 9 b\n4 syslog 1 c\n", "protocol"},
		{helloFrame + "2 syslog 1 a\n3 syslog -1 b\n", "protocol"},
		{helloFrame + "2 syslog 1 a\n3 syslog 4294967296 b\n", "protocol"},
		{helloFrame + "2 syslog 1 a\n3 syslog 3000 b", "too_large"},
		{helloFrame + "2 syslog 1 a\n3 syslog 999999999 b", "too_large"},
		{helloFrame + "2 syslog 1 a\n0 syslog 1 b\n", "protocol"},
		{helloFrame + "2 syslog 1 a\n3 " + strings.Repeat("x", 100), "protocol"},
	} {
		nc := ingesttest.Dial(t, s.address)
		before := ingesttest.Metric(t, s.Metrics, "fanin_rejected_connections_total", x.reason)
		_, err := io.WriteString(nc, strings.Replace(x.text, "1 a\n", fmt.Sprintf("3 a%02d\n", i), 1))
		must(t, err)
		answers, _ := io.ReadAll(nc)
		if strings.Contains(x.text, "1 a\n") {
			want += fmt.Sprintf("a%02d\n", i)
			if !strings.Contains(string(answers), "\n2 rsp 6 200 OK\n0 serverclose 0\n") {
				t.Errorf("%q is answered with %q", x.text, answers)
			}
		}
		if n := ingesttest.Metric(t, s.Metrics, "fanin_rejected_connections_total", x.reason); n != before+1 {
			t.Errorf("%q: %d sessions were ended for %s, want one more", x.text, n-before, x.reason)
		}
	}
	s.recorder.WaitText(t, want)
}

// Numbers that jump are counted, and answered as they are.
func TestJumps(t *testing.T) {
	s := start(t, &Protocol{})
	nc := ingesttest.Dial(t, s.address)
	_, err := io.WriteString(nc, "999999999 open 30 relp_version=0\ncommands=syslog\n1 syslog 1 a\n7 syslog 1 b\n6 syslog 1 c\n7 syslog 1 d\n8 close 0\n")
	must(t, err)
	answers, err := io.ReadAll(nc)
	must(t, err)
	_, got, _ := strings.Cut(string(answers), "commands=syslog\n")
	if want := "1 rsp 6 200 OK\n7 rsp 6 200 OK\n6 rsp 6 200 OK\n7 rsp 6 200 OK\n8 rsp 0\n0 serverclose 0\n"; got != want {
		t.Errorf("the answers are %q, want %q", got, want)
	}
	if n := s.metric(t, "jumps"); n != 2 {
		t.Errorf("%d jumps", n)
	}
}

// A message that cannot be written gets no answer: the session ends, and the client sends it again.
func TestNeverRefused(t *testing.T) {
	var broken atomic.Bool
	s, p := startPipes(t, &Protocol{}, stream.Limits{})
	s.recorder.Outcome = func(context.Context, wire.Batch) error {
		if broken.Load() {
			return &wire.Refused{Reason: "a test"}
		}
		return nil
	}
	c := &relptest.Client{Window: 10, Dial: func() net.Conn { return p.Dial(ingesttest.Addr(1), 1) }}
	must(t, c.Open(), c.Send("a"), c.Settle())
	broken.Store(true)
	c.Held = append(c.Held, "b", "c")
	_, err := io.WriteString(c.Conn, "3 syslog 1 b\n4 syslog 1 c\n") // in one piece: both are read before one is refused
	must(t, err)
	if _, _, err := c.Read(); err != relptest.ErrServerClose {
		t.Errorf("the answer is %v", err)
	}
	broken.Store(false)
	must(t, c.Open(), c.Settle(), c.Send("d"), c.Settle())
	s.recorder.WaitText(t, linesOf("a", "b", "c", "d"))
	if n := s.lines.Counts(); n.Received != 6 { // b and c came twice
		t.Errorf("%+v", n)
	}
}

// Many sessions that have begun and say no more hold next to nothing, and another client is served.
func TestHalfOpen(t *testing.T) {
	s := start(t, &Protocol{})
	for i := range 300 {
		nc := ingesttest.Dial(t, s.address)
		_, err := io.WriteString(nc, helloFrame[:i%len(helloFrame)]+map[bool]string{true: helloFrame + "2 syslog 99999 x"}[i%7 == 0])
		must(t, err)
	}
	c := &relptest.Client{Address: s.address, Window: 100}
	must(t, c.Open(), c.Send(several(0, 1000)...), c.Settle())
	s.recorder.WaitText(t, linesOf(several(0, 1000)...))
	if n := s.budget.Used(); n > 1<<20 {
		t.Errorf("%d bytes are held", n)
	}
}

// A drain ends the sessions with a hint, after the answers.
func TestDrain(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: 10}
	must(t, c.Open(), c.Send("a", "b"))
	s.recorder.WaitText(t, linesOf("a", "b"))
	s.stop()
	must(t, c.Settle())
	if _, _, err := c.Read(); err != relptest.ErrServerClose {
		t.Error(err)
	}
}

// A session whose client does not hear of a break is not compared while it is live: what equals its lines is
// new. When it breaks, it is.
func TestLiveSessionsAreNotCompared(t *testing.T) {
	s := start(t, &Protocol{})
	old := &relptest.Client{Address: s.address, Window: 10}
	must(t, old.Open(), old.Send("a", "b"), old.Settle())
	other := &relptest.Client{Address: s.address, Window: 10}
	must(t, other.Open(), other.Send("b"), other.Settle())
	s.recorder.WaitText(t, linesOf("a", "b", "b"))
	other.Cut()
	old.Cut()
	third := &relptest.Client{Address: s.address, Window: 10}
	must(t, third.Open(), third.Send("b"), third.Settle(), third.Send("c"), third.Settle())
	s.recorder.WaitText(t, linesOf("a", "b", "b", "c"))
}

// A listener with certificates knows its clients by name: what another client sent is no repeat.
func TestPeers(t *testing.T) {
	m := &Sessions{}
	one, two := m.begin("cn one", nil), m.begin("cn two", nil)
	x := m.change(one, []uint64{1, 2}, 10)
	m.committed(one, &x)
	m.finish(one)
	if v := m.decide(two, &opening{hashes: []uint64{1, 2}}); v.run != 0 || v.wait {
		t.Errorf("%+v", v)
	}
	again := m.begin("cn one", nil)
	if v := m.decide(again, &opening{hashes: []uint64{1, 2}}); v.run != 2 || v.after != one {
		t.Errorf("%+v", v)
	}
}

// What is remembered is bounded, and the sessions that ended first are forgotten first.
func TestBounds(t *testing.T) {
	m := &Sessions{}
	log := make(map[string]bool)
	one := func(peer string, frames int) *session {
		s := m.begin(peer, new(conn))
		x := m.change(s, make([]uint64, frames), 1<<16)
		for _, e := range x.extensions {
			if log[e.Name] = true; len(e.Value) == 0 {
				delete(log, e.Name)
			}
		}
		m.committed(s, &x)
		m.finish(s)
		return s
	}
	for range 2 * maxEnded {
		one("peer", 10)
	}
	if n := len(m.peers["peer"]); n != maxEnded {
		t.Errorf("%d sessions of a peer are remembered", n)
	}
	for i := range 700 {
		one(fmt.Sprint("peer ", i), 16*blockFrames)
	}
	if m.blocks > maxBlocks || len(log) > maxBlocks+len(m.deletes) || len(m.peers["peer"]) > 0 || len(m.peers["peer 699"]) != 1 {
		t.Errorf("%d blocks are remembered, %d in the log, %d to be deleted", m.blocks, len(log), len(m.deletes))
	}
	m.swept = time.Time{}
	for _, list := range m.peers {
		for _, s := range list {
			s.ended = time.Now().Add(-maxAge - time.Hour)
		}
	}
	if m.begin("new", new(conn)); m.blocks != 0 || len(m.peers) != 1 {
		t.Errorf("%d blocks of %d peers are remembered after their age", m.blocks, len(m.peers))
	}
}
