package relp

import (
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/ingest/relp/relptest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// One session: what is answered, in order, and what becomes of each message.
func TestSession(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: 128}
	must(t, c.Open(), c.Send(several(0, 1000)...), c.Settle())
	for _, x := range []struct{ command, data, want string }{
		{"open", "relp_version=0\ncommands=syslog", replyOpen.text()},
		{"open", "relp_version=1\ncommands=eventlog", replyOffers.text()},
		{"rotate", "", replyUnknown.text()},
		{"rotate", "now", replyUnknown.text()},
		{"syslog", "", replyOK.text()},
		{"syslog", "two\nlines", replyOK.text()},
		{"close", "", replyClose.text()},
	} {
		must(t, c.Write(x.command, x.data))
		if n, text, err := c.Read(); err != nil || n != c.Number || text != x.want {
			t.Errorf("%s is answered with %d %q, %v; want %d %q", x.command, n, text, err, c.Number, x.want)
		}
	}
	if _, _, err := c.Read(); err != relptest.ErrServerClose {
		t.Error(err)
	}
	must(t, c.Conn.Close())
	s.recorder.WaitText(t, linesOf(append(several(0, 1000), "two\xc0\x8alines")...))
	if n := s.metric(t, "unknown_commands"); n != 2 {
		t.Errorf("%d unknown commands", n)
	}
	if n := s.lines.Counts(); n.Received != 1001 || n.Duplicate != 0 {
		t.Errorf("%+v", n)
	}
}

// After a break, what the client sends again is recognized: with the same process and with the next
// one, at every length of the run, and again if the session breaks again.
func TestRepeats(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s := start(t, &Protocol{})
		c := &relptest.Client{Address: s.address, Window: 100}
		want := []string{}
		next := 0
		for _, held := range []int{0, 1, 2, 7, 8, 50, 99, 100} {
			must(t, c.Open())
			lines := several(next, next+100+held)
			want, next = append(want, lines...), next+len(lines)
			must(t, c.Send(lines[:len(lines)-held]...), c.Settle(), c.Send(lines[len(lines)-held:]...))
			s.recorder.WaitText(t, linesOf(want...))
			for range 2 { // nothing is read of the answers
				c.Cut()
				if restart {
					s = s.again(t)
					c.Address = s.address
				}
				must(t, c.Open())
			}
			must(t, c.Settle())
			if n := s.lines.Counts(); n.Duplicate < uint64(held) {
				t.Errorf("%d messages were sent again, and %d lines are duplicates", held, n.Duplicate)
			}
			c.Cut()
		}
		s.recorder.WaitText(t, linesOf(want...))
		if n := s.metric(t, "maybe_doubled"); n > 0 {
			t.Errorf("%d messages may be doubled", n)
		}
	}
}

// A client that does not wait for the answer to its open.
func TestRepeatsBehindOpen(t *testing.T) {
	s := start(t, &Protocol{})
	for i := range 2 {
		nc := ingesttest.Dial(t, s.address)
		_, err := io.WriteString(nc, "1 open 30 relp_version=0\ncommands=syslog\n2 syslog 3 one\n3 syslog 3 two\n")
		must(t, err)
		waittest.UntilEqual(t, "messages", uint64(2*i+2), func() uint64 { return s.lines.Counts().Received })
		must(t, nc.Close())
	}
	if n := s.lines.Counts(); n.Duplicate != 2 {
		t.Errorf("%+v", n)
	}
}

// A whole window is sent again, of more bytes and messages than a batch has.
func TestRepeatsOfAWindow(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: DefaultWindow}
	want := several(0, DefaultWindow)
	for i := range want {
		want[i] += strings.Repeat(" long", 50)
	}
	must(t, c.Open(), c.Send(want...))
	s.recorder.WaitText(t, linesOf(want...))
	for range 2 {
		c.Cut()
		must(t, c.Open())
	}
	must(t, c.Settle(), c.Send("more"), c.Settle())
	s.recorder.WaitText(t, linesOf(append(want, "more")...))
	if n := s.metric(t, "window_exceeded") + s.metric(t, "maybe_doubled"); n != 0 {
		t.Errorf("%d messages may be doubled, or are beyond the window", n)
	}
}

// A client that held messages which the log does not have sends them behind those that it has.
func TestRepeatsAndMore(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: 100}
	must(t, c.Open(), c.Send(several(0, 50)...))
	s.recorder.WaitText(t, linesOf(several(0, 50)...))
	c.Cut()
	c.Held = append(c.Held, several(50, 80)...)
	must(t, c.Open(), c.Settle(), c.Send(several(80, 90)...), c.Settle())
	s.recorder.WaitText(t, linesOf(several(0, 90)...))
}

// A close in order forgets the session: the same lines are new ones then, for the next process too.
func TestCloseForgets(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: 100}
	must(t, c.Open(), c.Send("a", "b"), c.Close())
	if n := len(remembered(s.batches(t))(0)); n != 0 {
		t.Errorf("the log remembers %d blocks", n)
	}
	must(t, c.Open(), c.Send("a", "b"), c.Close())
	s = s.again(t)
	c.Address = s.address
	must(t, c.Open(), c.Send("b"), c.Settle())
	s.recorder.WaitText(t, linesOf("a", "b", "a", "b", "b"))
}

// However much else the log is to forget, it has forgotten a session when its close is answered.
func TestCloseForgetsFirst(t *testing.T) {
	s := start(t, &Protocol{Sessions: &Sessions{}})
	c := &relptest.Client{Address: s.address, Window: 100}
	must(t, c.Open(), c.Send("a", "b"), c.Settle())
	s.Sessions.mu.Lock()
	for n := range uint64(2 * maxDeletes) {
		s.Sessions.deletes = append(s.Sessions.deletes, newSession("other").blockName(n))
	}
	s.Sessions.mu.Unlock()
	must(t, c.Close())
	if n := len(remembered(s.batches(t))(0)); n != 0 {
		t.Errorf("the log remembers %d blocks", n)
	}
}

// Several sessions of a peer: each that broke is continued once.
func TestSeveralSessions(t *testing.T) {
	s := start(t, &Protocol{})
	names := []string{"a", "b", "c", "d"}
	var all []*relptest.Client
	for _, name := range names {
		c := &relptest.Client{Address: s.address, Window: 10}
		must(t, c.Open(), c.Send(name+"1", name+"2"), c.Settle(), c.Send(name+"3", name+"4"))
		s.recorder.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, name+"4") })
		all = append(all, c)
	}
	for _, c := range all {
		c.Cut()
	}
	slices.Reverse(all)
	for _, c := range all {
		must(t, c.Open(), c.Settle())
	}
	other := &relptest.Client{Address: s.address, Window: 10}
	must(t, other.Open(), other.Send("a4"), other.Settle()) // its session is live
	runtime.KeepAlive(all)                                  // else the collector of garbage closes their connections
	if n := s.lines.Counts(); n.Duplicate != 8 || n.Received-n.Duplicate != 17 {
		t.Errorf("%+v", n)
	}
}

// Equal lines: the shortest run counts, and the rest is counted as maybe doubled.
func TestEqualLines(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: 10}
	must(t, c.Open(), c.Send("a", "x", "x", "x", "x"))
	s.recorder.WaitText(t, linesOf("a", "x", "x", "x", "x"))
	c.Cut()
	c.Held = c.Held[1:] // the client read one answer
	must(t, c.Open(), c.Settle(), c.Send("b"), c.Settle())
	s.recorder.WaitText(t, linesOf("a", "x", "x", "x", "x", "x", "x", "x", "b"))
	waittest.UntilEqual(t, "messages that may be doubled", 3, func() int { return s.metric(t, "maybe_doubled") })
}

// A client with a small window waits for an answer: what equals lines inside an old session is written
// after a moment.
func TestSmallWindow(t *testing.T) {
	s := start(t, &Protocol{})
	c := &relptest.Client{Address: s.address, Window: 10}
	must(t, c.Open(), c.Send("a", "b", "c", "d"))
	s.recorder.WaitText(t, linesOf("a", "b", "c", "d"))
	c.Cut()
	again := &relptest.Client{Address: s.address, Window: 1}
	must(t, again.Open(), again.Send("b", "c"), again.Settle())
	s.recorder.WaitText(t, linesOf("a", "b", "c", "d", "b", "c"))
	if n := s.metric(t, "maybe_doubled"); n != 1 {
		t.Errorf("%d messages may be doubled", n)
	}
}
