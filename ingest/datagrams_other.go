//go:build !linux

package ingest

import (
	"net"
	"net/netip"
	"time"
)

// datagramReader reads datagrams one by one.
type datagramReader struct {
	conn *net.UDPConn
	from netip.Addr
	data [maxDatagram]byte
	n    int
	wait time.Duration
}

const maxDatagram = 64 << 10

func newDatagramReader(conn *net.UDPConn, _ int) (*datagramReader, error) {
	return &datagramReader{conn: conn, wait: 200 * time.Millisecond}, nil
}

func (r *datagramReader) close() { r.conn.Close() }

func (r *datagramReader) drain() { r.wait = 10 * time.Millisecond }

func (r *datagramReader) read() (int, error) {
	r.conn.SetReadDeadline(time.Now().Add(r.wait))
	n, from, err := r.conn.ReadFromUDPAddrPort(r.data[:])
	if err != nil {
		return 0, err
	}
	r.n, r.from = n, from.Addr().Unmap()
	return 1, nil
}

func (r *datagramReader) datagram(int) (netip.Addr, []byte) { return r.from, r.data[:r.n] }

func setReceiveBuffer(conn *net.UDPConn, n int) (int, error) { return n, conn.SetReadBuffer(n) }

// drops are not known here.
func (r *datagramReader) drops() (uint32, error) { return 0, nil }
