package stream

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSegments makes the kernel announce segments of at most n bytes on the connections that ln
// accepts from now on.
func limitSegments(ln net.Listener, n int) {
	socket, ok := ln.(syscall.Conn)
	if !ok || n <= 0 {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, n) })
	}
}
