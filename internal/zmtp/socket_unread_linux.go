package zmtp

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unread returns how many bytes the kernel holds that came over nc and were not read.
func unread(nc net.Conn) (n int) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return n
}
