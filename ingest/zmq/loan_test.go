package zmq

import (
	"net"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// torn begins a message that is lent memory, of which the last bytes do not come.
func torn(t *testing.T, s *setup) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	handshake(t, nc, zmtp.Push)
	nc.Write(zmtp.AppendMessage(nil, []byte(strings.Repeat("x", 900<<10)))[:500<<10])
	waittest.Until(t, "a block to be lent", func() bool { return s.Budget.Used() >= 512<<10 })
	return nc
}

// TestLoanEnds: however a connection ends inside a large message, its memory is given back.
func TestLoanEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *setup, nc net.Conn){
		"cut":   func(_ *testing.T, _ *setup, nc net.Conn) { nc.Close() },
		"reset": func(_ *testing.T, _ *setup, nc net.Conn) { nc.(*net.TCPConn).SetLinger(0); nc.Close() },
		"protocol error": func(_ *testing.T, s *setup, nc net.Conn) {
			nc.Write(make([]byte, 400<<10+20)) // the rest, and a few empty messages
			nc.Write([]byte{0xff, 0xff, 0xff})
		},
		"protocol error within": func(t *testing.T, s *setup, nc net.Conn) {
			nc.Close()
			nc, err := net.Dial("tcp", s.address())
			if err != nil {
				t.Fatal(err)
			}
			handshake(t, nc, zmtp.Push)
			first := zmtp.AppendMessage(nil, []byte(strings.Repeat("x", 100<<10)), nil)
			nc.Write(append(first[:len(first)-2], 0xff, 0xff))
			waittest.UntilEqual(t, "peers", 0, s.socket.Peers)
		},
		"shutdown": func(_ *testing.T, s *setup, _ net.Conn) { s.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}})
			end(t, s, torn(t, s))
			waittest.UntilEqual(t, "bytes of the memory budget", 0, func() int { return int(s.Budget.Used()) })
			waittest.UntilEqual(t, "bytes of messages that have begun", 0, func() int { return int(s.Budget.Arriving()) })
		})
	}
}

// TestLoansDoNotWaitForEachOther: peers that have used up the memory, each with lines that wait
// for the log and with the beginning of a large message, go on when the log does.
func TestLoansDoNotWaitForEachOther(t *testing.T) {
	const peers, size = 8, 900 << 10
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}, Out: h, Budget: &ingest.Budget{Limit: 9 << 20}})
	s.out = h.Recorder
	message := zmtp.AppendMessage(nil, []byte(strings.Repeat("x", size)))
	var conns []net.Conn
	for i := range peers {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
		nc, err := dialer.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		c := handshake(t, nc, zmtp.Push)
		send(t, c, []string{"a"})
		s.counted(t, "fanin_zmq_messages_total", 2*i+1)
		send(t, c, []string{"b"})
		s.counted(t, "fanin_zmq_messages_total", 2*i+2)
		conns = append(conns, nc)
	}
	for i, nc := range conns { // these lines wait in the reader
		nc.Write(message)
		s.counted(t, "fanin_zmq_messages_total", 2*peers+i+1)
	}
	for _, nc := range conns {
		go nc.Write(message) // ends when it was read
	}
	used, since := s.Budget.Used(), time.Now()
	waittest.Until(t, "all peers to wait", func() bool {
		if now := s.Budget.Used(); now != used {
			used, since = now, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond
	})
	close(h.release)
	h.Wait(t, func(text string, _ []wire.Batch) bool { return len(text) >= peers*(4+2*(size+1)) })
}

// TestSlowMessage: a peer whose large message does not come is disconnected while others wait
// for memory, with a reason and a count; the others are not.
func TestSlowMessage(t *testing.T) {
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull}, Budget: &ingest.Budget{Limit: 4 << 20}})
	torn(t, s)
	c := dial(t, s.address(), zmtp.Push)
	big := strings.Repeat("y", 900<<10)
	send(t, c, []string{big})
	s.out.WaitText(t, big+"\n")
	s.counted(t, "fanin_zmq_crowded_total", 1)
	s.counted(t, "fanin_zmq_breaks_total", 1)
}

// TestSubDropsLarge: a SUB does not wait for the memory of a large message either: it drops it,
// counted and reported, and reads on.
func TestSubDropsLarge(t *testing.T) {
	for _, free := range []int{0, 2} { // blocks: none, or enough for the first step of a message alone
		s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub}, Budget: &ingest.Budget{Limit: 8 << 20}})
		var taken [][]byte
		for b := s.Budget.TryAcquire(4 << 10); b != nil; b = s.Budget.TryAcquire(4 << 10) {
			taken = append(taken, b)
		}
		for _, b := range taken[:free] {
			s.Budget.Release(b)
		}
		c := dial(t, s.address(), zmtp.Pub)
		for range 100 {
			send(t, c, []string{"t", strings.Repeat("x", 40<<10)})
		}
		s.counted(t, "fanin_zmq_dropped_messages_total", 100)
		s.reported(t, "reason=zmq-busy")
		for _, b := range taken[free:] {
			s.Budget.Release(b)
		}
		if used := s.Budget.Used(); used != 0 {
			t.Errorf("%d bytes are used for messages that were dropped", used)
		}
	}
}

// TestBlockWhileMemoryIsShort: a reader that waits for memory asks for as much as filled its last blocks, up to
// a bound, so that the turns of all others come soon, and for no less than its message needs.
func TestBlockWhileMemoryIsShort(t *testing.T) {
	for _, c := range []struct{ next, size, want int }{
		{firstBlock, 1, firstBlock},
		{8 << 10, 1, 8 << 10},
		{largeBlock, 1, turnBlock},
		{largeBlock, 128 << 10, 128 << 10},
	} {
		budget := &ingest.Budget{Limit: 1 << 20}
		r := &reader{n: &Input{Budget: budget, appending: t.Context()}, loan: &loan{}, next: c.next}
		all := budget.TryAcquire(1 << 20)
		go func() { // ends when r waits
			end := time.Now().Add(waittest.Limit)
			for ; budget.Stalled() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			if budget.Stalled() == 0 {
				t.Error("the reader did not wait")
			}
			budget.Release(all)
		}()
		b, err := r.acquire(c.size)
		if err != nil || len(b) != c.want {
			t.Errorf("%+v: %d bytes, %v", c, len(b), err)
		}
	}
}
