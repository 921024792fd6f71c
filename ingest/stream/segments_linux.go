package stream

import (
	"net"

	"golang.org/x/sys/unix"
)

// limitSegments makes the kernel announce segments of at most n bytes on the connections that ln
// accepts from now on.
func limitSegments(ln net.Listener, n int) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok || n <= 0 {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, n) })
	}
}
