package relp

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/relp/relptest"
	"fanin/ingest/stream"
	"fanin/internal/wire"
)

// flood sends texts on connections of many addresses, each again and again until it is closed, and reads
// nothing.
func flood(t *testing.T, p *ingesttest.Pipes, conns int, text string) {
	for n := range conns {
		nc := p.Dial(ingesttest.Addr(n+2), 1)
		t.Cleanup(func() { nc.Close() })
		go func() { // ends with the connection
			for _, err := io.WriteString(nc, helloFrame); err == nil; {
				_, err = io.WriteString(nc, text)
			}
		}()
	}
	synctest.Wait()
}

// atOnce checks that another client is served while no time passes.
func atOnce(t *testing.T, p *ingesttest.Pipes) {
	t.Helper()
	c := &relptest.Client{Window: 10, Dial: func() net.Conn { return p.Dial(ingesttest.Addr(1), 1) }}
	began := time.Now()
	must(t, c.Open())
	for n := range 20 {
		must(t, c.Send(fmt.Sprint("other ", n, strings.Repeat("x", 3000))))
	}
	must(t, c.Settle())
	if d := time.Since(began); d > 0 {
		t.Errorf("another client waited for %v", d)
	}
	must(t, c.Conn.Close())
}

// A client that never reads its answers is not read either, holds up no other, and is ended after a time.
func TestUnreadAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := startPipes(t, &Protocol{}, stream.Limits{FrameTimeout: time.Minute})
		nc := p.Dial(ingesttest.Addr(2), 1)
		const most = 2 * (maxDue + wire.MaxCutLines)
		began, sent := time.Now(), 0
		_, err := io.WriteString(nc, helloFrame)
		for ; err == nil && sent <= most; sent++ { // until the collector closes the connection
			_, err = fmt.Fprintf(nc, "%d syslog 1 x\n", sent+2)
		}
		if d := time.Since(began); d < time.Minute || d > time.Minute+stream.LingerTime {
			t.Errorf("the session ended after %v", d)
		}
		if sent > most {
			t.Errorf("%d messages were read whose answers were not, want at most %d", sent, most)
		}
		if n := ingesttest.Metric(t, s.Metrics, "fanin_rejected_connections_total", "unread"); n != 1 {
			t.Errorf("%d sessions ended because their clients did not read", n)
		}
		atOnce(t, p)
	})
}

// Clients that send and do not read their answers hold no memory that others need, however long they may take.
func TestUnreadAnswersHoldNoMemory(t *testing.T) {
	for name, text := range map[string]string{
		"answers": strings.Repeat("1 open 0\n", 60) + "2 syslog 60000 " + strings.Repeat("x", 60_000) + "\n",
		"a message": strings.Repeat("1 open 0\n", 300) + "2 syslog 100000 " + strings.Repeat("x", 50_000) + "\n" +
			strings.Repeat("x", 49_999) + "\n",
		"messages": strings.Repeat("1 open 0\n", 2000) + strings.Repeat("2 syslog 9000 "+strings.Repeat("x", 9000)+"\n", 60),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := startPipes(t, &Protocol{}, stream.Limits{FrameTimeout: time.Hour})
				s.budget.Limit = 2 << 20
				flood(t, p, 100, text)
				if n := s.budget.Used(); n > s.budget.Limit/8 {
					t.Errorf("%d bytes are held", n)
				}
				atOnce(t, p)
			})
		})
	}
}

// Messages at the beginning of a session that may be repeats hold no memory that others need while no more
// come. Those that are repeats are recognized nevertheless, and of the others none is lost.
func TestUndecidedHoldNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := startPipes(t, &Protocol{}, stream.Limits{})
		s.budget.Limit = 2 << 20
		var all []string
		for n := range 40 {
			all = append(all, fmt.Sprint(n, strings.Repeat("x", 60_000)))
		}
		client := func() *relptest.Client {
			return &relptest.Client{Window: len(all), Dial: func() net.Conn { return p.Dial(ingesttest.Addr(2), 1) }}
		}
		old := client()
		must(t, old.Open(), old.Send(all...), old.Settle())
		old.Cut()
		synctest.Wait()
		var conns []*relptest.Client
		for range 8 {
			c := client()
			must(t, c.Open(), c.Send(all[:30]...))
			conns = append(conns, c)
		}
		synctest.Wait()
		if n := s.budget.Used(); n > s.budget.Limit/8 {
			t.Errorf("%d bytes are held", n)
		}
		atOnce(t, p)
		before := s.recorder.Text()
		must(t, conns[0].Send(all[30:]...), conns[0].Settle())
		if s.recorder.Text() != before {
			t.Error("repeats are in the log twice")
		}
		if n := s.lines.Counts(); n.Duplicate != uint64(len(all)) {
			t.Errorf("%+v", n)
		}
		must(t, conns[1].Send("new"))
		time.Sleep(2 * steadyTime)
		if conns[1].Answer() == nil {
			t.Error("a message is acknowledged whose text is gone")
		}
		must(t, conns[0].Conn.Close())
		must(t, conns[1].Open(), conns[1].Settle())
		want := strings.Join(all[:30], "\n") + "\nnew\n"
		if got := s.recorder.Text(); !strings.HasSuffix(got, want) {
			t.Errorf("the log has %d bytes behind what it had, want %d", len(got)-len(before), len(want))
		}
		for _, c := range conns {
			c.Conn.Close()
		}
	})
}

// A session that has messages does not wait for more memory: sessions that all did would wait for each other.
func TestMemoryIsNotWaitedForWithMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Protocol{}
		p.Format()
		budget := &ingest.Budget{Limit: 8 << 20}
		c := newConn(t.Context(), p, &stream.Conn{Budget: budget})
		if full, err := c.takeMessage(&frame{number: 1, data: []byte("a")}); full || err != nil {
			t.Fatal(full, err)
		}
		var others [][]byte // all that there is
		for b := budget.TryAcquire(1); b != nil; b = budget.TryAcquire(1) {
			others = append(others, b)
		}
		large := make([]byte, 50_000)
		if full, err := c.takeMessage(&frame{number: 2, data: large}); !full || err != nil {
			t.Error("a message: ", full, err)
		}
		c.in.Block = make([]byte, 4<<10)
		if full, err := c.makeSpace(50_000); !full || err != nil {
			t.Error("a frame: ", full, err)
		}
		c.in.Block = nil
		if c.in.TryBlock() {
			t.Error("a read has memory")
		}
		c.decided = false
		c.dropHeld()
		for _, b := range others {
			budget.Release(b)
		}
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes of a text that may be repeats are held", n)
		}
	})
}

// A batch has few answers that are not one run, and none is set aside for more of them.
func TestAnswersAreBounded(t *testing.T) {
	for name, take := range map[string]func(c *conn, n int) (bool, error){
		"open": func(c *conn, n int) (bool, error) {
			return c.takeOther(&frame{command: []byte("open")})
		},
		"syslog": func(c *conn, n int) (bool, error) {
			return c.takeMessage(&frame{number: uint32(2 * n)})
		},
	} {
		p := &Protocol{}
		p.Format()
		c := newConn(t.Context(), p, &stream.Conn{Budget: new(ingest.Budget)})
		n := 0
		for full := false; !full || c.hold(); n++ {
			var err error
			full, err = take(c, n+1)
			must(t, err)
			if n > 2*maxAnswers {
				t.Fatalf("%s: %d answers wait", name, n)
			}
		}
		c.Budget.Release(c.next.block)
	}
}

// The answers to frames, however they are split among writes.
func TestAnswers(t *testing.T) {
	a := newAnswers()
	want, n := "", uint32(0)
	for _, run := range []uint32{1, 3, 5000, 1} {
		for range run {
			n++
			a.add(addAnswer(nil, n, replyOK))
			want += fmt.Sprint(n, " rsp 6 200 OK\n")
		}
		a.add(addAnswer(nil, 7, replyClose))
		want += "7 rsp 0\n"
	}
	got, acks := "", 0
	for {
		out, k := a.next()
		if out == nil {
			break
		}
		if again, _ := a.next(); again != nil || len(out) > writeSize {
			t.Fatalf("%d bytes are written at once", len(out))
		}
		got, acks = got+string(out), acks+k
		a.written(out, nil)
	}
	if got != want || acks != int(n) {
		t.Errorf("%d messages are acknowledged, want %d, with %.100q", acks, n, got)
	}
	if err := a.settle(); err != nil || a.many() || len(a.due) > 0 {
		t.Errorf("%v, %+v", err, a.due)
	}
	a.add(addAnswer(nil, 8, replyOK))
	out, _ := a.next()
	a.written(out, io.ErrClosedPipe)
	a.add(addAnswer(nil, 9, replyOK))
	if out, _ := a.next(); out != nil || a.settle() != io.ErrClosedPipe {
		t.Errorf("%q is written after a failure", out)
	}
}

// What a batch takes besides its text is in proportion to its block, and next to nothing when it is empty.
func TestSmallMessages(t *testing.T) {
	for _, data := range []string{"", "x", "<13>Oct 11 22:14:15 host application[7]: x"} {
		p := &Protocol{Window: MaxWindow}
		p.Format()
		c := newConn(t.Context(), p, &stream.Conn{Budget: new(ingest.Budget)})
		b, n := c.next, uint32(0)
		for full := false; !full; {
			n++
			var err error
			full, err = c.takeMessage(&frame{number: n, data: []byte(data)})
			must(t, err)
			if besides := 16*len(b.hashes) + wire.MarkBytes*len(b.Marks); besides > 4*len(b.block) {
				t.Fatalf("%q: %d messages take %d bytes besides a block of %d", data, len(b.hashes), besides, len(b.block))
			}
		}
		if n < 500 {
			t.Errorf("%q: a batch has %d messages", data, n)
		}
		c.release(b)
		if cap(b.hashes)+cap(b.ends)+cap(b.Marks)+cap(b.answers) > 3*keepMessages+maxAnswers {
			t.Errorf("%q: an empty batch keeps memory for %d messages", data, cap(b.hashes))
		}
	}
}
