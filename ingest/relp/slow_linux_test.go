package relp

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanin/ingest/ingesttest"
	"fanin/ingest/relp/relptest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// A client's connection is lost without a word while the disk is slow, and it sends again what is
// being committed then.
func TestRepeatsOfASlowCommit(t *testing.T) {
	var disk sync.Mutex // one commit at a time
	slow := true
	begun := make(chan bool, 1)
	recorder := ingesttest.NewRecorder()
	recorder.Outcome = func(context.Context, wire.Batch) error {
		disk.Lock()
		defer disk.Unlock()
		if slow {
			slow = false
			begun <- true
			time.Sleep(10 * quietTime)
		}
		return nil
	}
	s := start(t, &Protocol{Out: recorder})
	c := &relptest.Client{Address: s.address, Window: 10}
	must(t, c.Open(), c.Send("a"))
	must(t, c.Send("b"))
	<-begun
	lose(t, c.Conn)
	must(t, c.Open(), c.Settle())
	must(t, c.Send("c"), c.Settle())
	s.recorder.WaitText(t, linesOf("a", "b", "c"))
	waittest.UntilEqual(t, "repeats", uint64(2), func() uint64 { return s.lines.Counts().Duplicate })
}

// lose has the kernel drop what comes on a connection, answers to the other side's bytes, too.
func lose(t *testing.T, nc net.Conn) {
	raw, err := nc.(*net.TCPConn).SyscallConn()
	must(t, err)
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	must(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	}), err)
	t.Cleanup(func() { nc.Close() })
}

// More sessions of a client break than are remembered: those that are forgotten are counted.
func TestForgottenSessions(t *testing.T) {
	s := start(t, &Protocol{})
	for i := range maxEnded + 3 {
		c := &relptest.Client{Address: s.address, Window: 10}
		must(t, c.Open(), c.Send(several(i, i+1)...), c.Settle())
		c.Cut()
	}
	waittest.UntilEqual(t, "sessions forgotten", 3, func() int { return s.metric(t, "forgotten_sessions") })
}
