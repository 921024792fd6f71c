//go:build !race

package zmtp

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"fanin/internal/waittest"
)

// inUse returns the memory of heap and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// crowd are connections whose peers have sent something, each with a goroutine that serves it.
type crowd struct {
	peers []net.Conn
	mu    sync.Mutex
	conns []*Conn
	wg    sync.WaitGroup
}

// gather makes n connections whose peers send sent, and returns how much each costs while it waits.
func gather(t *testing.T, n int, o *Options, sent func(nc net.Conn)) (c *crowd, each int64) {
	t.Helper()
	c = new(crowd)
	var serving []net.Conn
	for range n {
		a, b := link(t)
		c.peers, serving = append(c.peers, a), append(serving, b)
	}
	t.Cleanup(func() {
		for _, nc := range serving {
			nc.Close()
		}
		c.wg.Wait()
	})
	before := inUse()
	for _, nc := range serving {
		c.wg.Go(func() { // ends with the connection
			if conn, err := Handshake(context.Background(), nc, o); err == nil {
				c.mu.Lock()
				c.conns = append(c.conns, conn)
				c.mu.Unlock()
				for err == nil {
					_, err = conn.Receive()
				}
			}
		})
	}
	for _, nc := range c.peers {
		sent(nc)
	}
	waittest.Until(t, "all bytes to be read", func() bool {
		for _, nc := range serving {
			if unread(nc) > 0 {
				return false
			}
		}
		return true
	})
	time.Sleep(100 * time.Millisecond) // until all goroutines wait again; the bound holds earlier, too
	return c, (inUse() - before) / int64(n)
}

// A peer costs 8 KiB at most before its handshake is complete, and 64 KiB after, its goroutine's
// stack included. With the race detector everything costs more.
func TestMemoryPerPeer(t *testing.T) {
	const n = 200
	secret, public := newSecret(t)
	curve := Security{Server: true, Curve: &Curve{Secret: secret}}
	halfCommand := appendCommand(nil, ready, make([]byte, idleBuffer-100))
	for _, test := range []struct {
		name string
		o    Options
		sent func(nc net.Conn)
		most int64
	}{
		{"silent", Options{}, func(net.Conn) {}, 8 << 10},
		{"greeting", Options{}, func(nc net.Conn) { nc.Write(greeted(Push)[:greetingSize]) }, 8 << 10},
		{"half a large command", Options{}, func(nc net.Conn) {
			nc.Write(append(greeted(Push)[:greetingSize:greetingSize], halfCommand[:len(halfCommand)-1]...))
		}, 8 << 10},
		{"CURVE hello", Options{Security: curve}, func(nc net.Conn) {
			nc.Write(appendGreeting(nil, &Security{Curve: curve.Curve}, minor))
			pair, _ := newKeyPair()
			h := &handshake{nc: nc}
			h.sendHello(pair, &Curve{ServerKey: public}, &box{send: newNonce(clientNonce)})
		}, 8 << 10},
		{"idle", Options{}, func(nc net.Conn) { nc.Write(greeted(Push)) }, 8 << 10},
		{"busy", Options{}, func(nc net.Conn) {
			nc.Write(append(greeted(Push), AppendMessage(nil, make([]byte, 500000))...))
			nc.Write([]byte("\x00\xff"))
		}, 64 << 10},
	} {
		test.o.Type, test.o.HandshakeTimeout = Pull, time.Minute
		_, each := gather(t, n, &test.o, test.sent)
		t.Logf("%s: %d bytes a peer", test.name, each)
		if each > test.most {
			t.Errorf("%s: %d bytes a peer; at most %d", test.name, each, test.most)
		}
	}
}
