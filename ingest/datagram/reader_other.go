//go:build !linux

package datagram

import (
	"net"
	"net/netip"
	"time"
)

// reader reads datagrams one by one.
type reader struct {
	conn *net.UDPConn
	from netip.Addr
	data [maxDatagram]byte
	n    int
	wait time.Duration
}

const maxDatagram = 64 << 10

func newReader(conn *net.UDPConn, _ int) (*reader, error) {
	return &reader{conn: conn, wait: 200 * time.Millisecond}, nil
}

func (r *reader) close() { r.conn.Close() }

func (r *reader) drain() { r.wait = 10 * time.Millisecond }

func (r *reader) read() (int, error) {
	r.conn.SetReadDeadline(time.Now().Add(r.wait))
	n, from, err := r.conn.ReadFromUDPAddrPort(r.data[:])
	if err != nil {
		return 0, err
	}
	r.n, r.from = n, from.Addr().Unmap()
	return 1, nil
}

func (r *reader) datagram(int) (netip.Addr, []byte) { return r.from, r.data[:r.n] }

func setReceiveBuffer(conn *net.UDPConn, n int) (int, error) { return n, conn.SetReadBuffer(n) }

// drops returns 0: they are not known here.
func (r *reader) drops() (uint32, error) { return 0, nil }
