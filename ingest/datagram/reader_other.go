//go:build !linux

package datagram

import (
	"net/netip"
	"time"

	"fanin/internal/origin"
)

// reader reads datagrams one by one.
type reader struct {
	conn Conn
	from netip.Addr
	data [maxDatagram]byte
	n    int
	wait time.Duration
}

const maxDatagram = 64 << 10

func newReader(conn Conn, _ int) (*reader, error) {
	return &reader{conn: conn, wait: 200 * time.Millisecond}, nil
}

func (r *reader) close() { r.conn.Close() }

func (r *reader) refuse() {}

func (r *reader) drain() { r.wait = 10 * time.Millisecond }

func (r *reader) read() (int, error) {
	r.conn.SetReadDeadline(time.Now().Add(r.wait))
	n, from, err := r.conn.ReadFrom(r.data[:])
	if err != nil {
		return 0, err
	}
	r.n, r.from = n, origin.Parse(from.String())
	return 1, nil
}

func (r *reader) datagram(_ int, d *Datagram) bool {
	d.Peer, d.Data = r.from, r.data[:r.n]
	return false
}

func setReceiveBuffer(conn Conn, n int) (int, error) {
	return n, conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(n)
}

// drops returns 0: they are not known here.
func (r *reader) drops() (uint32, error) { return 0, nil }
