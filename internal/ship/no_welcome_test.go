package ship

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestNoWelcome: a peer that sends no welcome is described as what it most likely is.
func TestNoWelcome(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(net.Conn)
		word   string
	}{
		"it closes":       {func(nc net.Conn) { nc.Read(make([]byte, 1000)) }, "closed before the collector's welcome"},
		"it sends little": {func(nc net.Conn) { nc.Read(make([]byte, 1000)); nc.Write([]byte{0x97}) }, "closed before the collector's welcome"},
		"it is silent":    {func(nc net.Conn) { io.Copy(io.Discard, nc) }, "no welcome within 100ms: is that the port of a fanin-collector?"},
		"another server":  {func(nc net.Conn) { io.WriteString(nc, "220 mail.example ESMTP\r\n"); io.Copy(io.Discard, nc) }, "the peer is not a fanin-collector"},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			go func() { // ends with the listener
				for {
					nc, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { c.answer(nc); nc.Close() }() // ends with the connection
				}
			}()
			p := &peer{ln: ln}
			x := p.dial(t, func(x *TCP) { x.GreetWithin = 100 * time.Millisecond })
			troubled(t, x, c.word)
		})
	}
}
