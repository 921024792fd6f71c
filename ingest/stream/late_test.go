package stream_test

import (
	"net"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// A hello that meets a stop is no line, and a line that meets one is written, or nothing of it.
func TestHelloMeetsStop(t *testing.T) {
	hello := wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "a", Instance: wire.StreamID{1, '\n', 2}, Run: 1})
	for i := range 400 {
		k := ingesttest.NewRecorder()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
		done := make(chan struct{})
		go func() { s.Serve(ln); close(done) }() // ends by Shutdown
		nc := ingesttest.Dial(t, ln.Addr().String())
		text, want := hello, ""
		if i%4 == 3 {
			text, want = []byte("a line\n"), "a line\n"
		}
		go func() { // ends with the connection
			time.Sleep(time.Duration(i%40) * 10 * time.Microsecond)
			nc.Write(text)
			if want == "" { // an agent leaves when it is told
				nc.Read(make([]byte, 1))
				nc.Close()
			}
		}()
		time.Sleep(200 * time.Microsecond)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-done
		nc.Close()
		if got := k.Text(); got != "" && got != want {
			t.Fatalf("round %d: the log has %q", i, got)
		}
	}
}
