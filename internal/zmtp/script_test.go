package zmtp

import (
	"bytes"
	"io"
	"net"
	"time"
)

// script is a peer that sends prepared bytes, a few at a time, and takes whatever it gets.
type script struct {
	in  []byte
	few int // bytes a read gets at most; 0: all
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	if s.few > 0 && len(p) > s.few {
		p = p[:s.few]
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// served returns a connection, its handshake behind it, whose peer sends what s has.
func served(s *script, o *Options, x *box) *Conn {
	return newConn(&handshake{nc: s, o: o, in: newBuffer(s, o.Memory), peer: Peer{Minor: minor}}, x)
}
