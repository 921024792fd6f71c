package zmq

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
	"fanin/internal/zmtp/zmtptest"
)

// TestSubDropsLibzmq: of a publisher that waits for its subscribers and drops nothing itself,
// what is missing is what was counted.
func TestSubDropsLibzmq(t *testing.T) {
	const pub = `
s = socket("XPUB", XPUB_NODROP=1)
s.bind(args[0])
s.recv()
for i in range(int(args[1])):
    s.send_multipart([b"t", b"%0100d" % i])
say("sent")
wait()
s.send_multipart([b"t", b"last"])
s.close(linger=30000)
context.term()
`
	const messages = 150_000
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	at := freeEndpoint(t)
	s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Sub, Connect: []zmtp.Endpoint{at}}, Out: h, Sub: SubOptions{Pending: 4 << 20}})
	s.out = h.Recorder
	p := zmtptest.Start(t, pub, at.String(), fmt.Sprint(messages))
	p.Want("sent")
	s.counted(t, "fanin_zmq_messages_total", messages)
	close(h.release)
	p.Tell("go on")
	text, _ := h.Wait(t, func(text string, _ []wire.Batch) bool { return strings.HasSuffix(text, "last\n") })
	written := strings.Count(text, "\n") - 1
	s.stop()
	s.counted(t, "fanin_zmq_dropped_messages_total", messages-written)
	if written == messages {
		t.Error("nothing was dropped")
	}
}

// cutter is a proxy whose connections can be cut.
type cutter struct {
	net.Listener
	conns chan [2]net.Conn
}

// newCutter returns a proxy to an address.
func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &cutter{ln, make(chan [2]net.Conn, 100)}
	t.Cleanup(func() { ln.Close() })
	go func() { // ends with the listener
		for {
			a, err := ln.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			go func() { io.Copy(a, b); a.Close() }() // ends with the connection
			go func() { io.Copy(b, a); b.Close() }() // likewise
			x.conns <- [2]net.Conn{a, b}
		}
	}()
	return x
}

// cut resets the next connection, on both sides.
func (x *cutter) cut(t *testing.T) {
	t.Helper()
	select {
	case pair := <-x.conns:
		for _, nc := range pair {
			nc.(*net.TCPConn).SetLinger(0)
		}
		for _, nc := range pair {
			nc.Close()
		}
	case <-time.After(waittest.Limit):
		t.Fatal("no connection was made")
	}
}

// TestBreaksLibzmq: for each connection that breaks, the log reports that messages may be
// missing, and as often as that.
func TestBreaksLibzmq(t *testing.T) {
	const peer = `
kind, at, how = args
s = socket("X" + kind if kind == "PUB" else kind, at, how == "bind")
if kind == "PUB":
    s.recv()
i = 0
while True:
    s.send_multipart([b"t", b"%d" % i])
    i += 1
    time.sleep(0.001)
`
	const breaks = 5
	for _, kind := range []zmtp.SocketType{zmtp.Pull, zmtp.Sub} {
		t.Run(string(kind), func(t *testing.T) {
			var s *setup
			var x *cutter
			if kind == zmtp.Pull { // libzmq connects to us
				s = serve(t, &Input{Socket: SocketOptions{Type: kind}})
				x = newCutter(t, s.address())
				zmtptest.Start(t, peer, "PUSH", "tcp://"+x.Addr().String(), "connect")
			} else { // we connect to libzmq
				at := freeEndpoint(t)
				x = newCutter(t, strings.TrimPrefix(at.String(), "tcp://"))
				zmtptest.Start(t, peer, "PUB", at.String(), "bind")
				s = serve(t, &Input{Socket: SocketOptions{Type: kind, Connect: []zmtp.Endpoint{endpoint(t, "tcp://"+x.Addr().String())}}})
			}
			for i := range breaks {
				before := len(s.out.Text())
				waittest.UntilEqual(t, "peers", 1, s.socket.Peers)
				s.out.Wait(t, func(text string, _ []wire.Batch) bool { return len(text) > before+100 })
				x.cut(t)
				s.counted(t, "fanin_zmq_breaks_total", i+1)
			}
			waittest.UntilEqual(t, "peers", 1, s.socket.Peers)
			s.counted(t, "fanin_zmq_breaks_total", breaks)
			s.stop() // perhaps in the middle of a message, which is one more
			made := ingesttest.Metric(t, s.Metrics, "fanin_zmq_breaks_total", strings.ToLower(string(kind)))
			total := 0
			for _, text := range s.notices {
				n := 0
				fmt.Sscanf(text, "BREAK n=%d unit=connections", &n)
				total += n
			}
			if total != made || made > breaks+1 {
				t.Errorf("%d breaks are reported, and %d counted, want %d: %q", total, made, breaks, s.notices)
			}
		})
	}
}
