package ship

import (
	"net"

	"golang.org/x/sys/unix"
)

// confirmed returns how many bytes the peer's kernel has acknowledged, and whether others
// wait for that.
func confirmed(conn net.Conn) (bytes uint64, pending, known bool) {
	info := tcpInfo(conn)
	if info == nil {
		return 0, false, false
	}
	return info.Bytes_acked, info.Unacked > 0 || info.Notsent_bytes > 0, true
}

// tcpInfo returns what the kernel knows of a connection, with or without TLS; nil: nothing.
func tcpInfo(conn net.Conn) (info *unix.TCPInfo) {
	c, ok := below(conn).(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	cerr := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if cerr != nil || err != nil {
		return nil
	}
	return info
}
