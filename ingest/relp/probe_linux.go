package relp

import "golang.org/x/sys/unix"

// tcpEstablished is the state of a connection that neither side has closed, see tcp(7).
const tcpEstablished = 1

// probe asks the kernel for the state of the connection.
func (c *conn) probe() (p probed) {
	p.ended = true
	if c.raw == nil {
		return probed{}
	}
	c.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		p.ended = info.State != tcpEstablished
		p.unacked, p.retransmits = int(info.Unacked), int(info.Retransmits)
		p.unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	})
	return p
}
