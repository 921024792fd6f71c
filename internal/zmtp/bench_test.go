package zmtp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// loop is a peer that sends the same bytes for ever.
type loop struct {
	bytes []byte
	at    int
}

func (l *loop) Read(p []byte) (n int, err error) {
	for n < len(p) {
		k := copy(p[n:], l.bytes[l.at:])
		n += k
		l.at = (l.at + k) % len(l.bytes)
	}
	return n, nil
}

func (*loop) Write(p []byte) (int, error)      { return len(p), nil }
func (*loop) Close() error                     { return nil }
func (*loop) LocalAddr() net.Addr              { return nil }
func (*loop) RemoteAddr() net.Addr             { return nil }
func (*loop) SetDeadline(time.Time) error      { return nil }
func (*loop) SetReadDeadline(time.Time) error  { return nil }
func (*loop) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkReceive takes messages of 100 bytes out of the read buffer.
func BenchmarkReceive(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 100)
	l := &loop{bytes: bytes.Repeat(AppendMessage(nil, body), 1000)}
	c := newConn(&handshake{nc: l, o: &Options{Type: Pull}, in: newBuffer(l, nil)}, nil)
	text := make([]byte, 0, 1<<20)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		frames, err := c.Receive()
		if err != nil {
			b.Fatal(err)
		}
		if len(text)+len(frames[0])+1 > cap(text) {
			text = text[:0]
		}
		text = append(append(text, frames[0]...), '\n')
	}
}

// BenchmarkSend sends messages of 100 bytes to a peer that reads.
func BenchmarkSend(b *testing.B) {
	for _, m := range mechanisms(b) {
		b.Run(m.name, func(b *testing.B) {
			push, pull := mustJoin(b, &Options{Type: Push, Security: m.client}, &Options{Type: Pull, Security: m.server})
			done := make(chan struct{})
			go func() { // ends with the connection
				defer close(done)
				io.Copy(io.Discard, pull.nc)
			}()
			body := bytes.Repeat([]byte("x"), 100)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := push.Send(body); err != nil {
					b.Fatal(err)
				}
			}
			push.Close()
			<-done
		})
	}
}

// BenchmarkCurve opens boxes with messages of 100 bytes.
func BenchmarkCurve(b *testing.B) {
	const count = 1 << 14
	x := &box{send: newNonce(clientNonce)}
	body := bytes.Repeat([]byte("x"), 100)
	var sealed []byte
	for range count {
		sealed = x.appendFrame(sealed, 0, body)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	l := &loop{bytes: sealed}
	c := newConn(&handshake{nc: l, o: &Options{Type: Pull}, in: newBuffer(l, nil)}, &box{got: newNonce(clientNonce)})
	n := 0
	for b.Loop() {
		if _, err := c.Receive(); err != nil {
			b.Fatal(err)
		}
		if n++; n == count { // the peer begins again
			n, c.box.got = 0, newNonce(clientNonce)
		}
	}
}
