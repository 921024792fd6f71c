package ingest

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dontWait makes a read return at once.
const dontWait = unix.MSG_DONTWAIT

// setReceiveBuffer asks for n bytes, beyond the system's limit if we may, and
// returns what the kernel granted. (It reports the double, for its own books.)
func setReceiveBuffer(conn *net.UDPConn, n int) (got int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("receive buffer of %v: %w", conn.LocalAddr(), err)
	}
	control := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, n)
		}
		if err == nil {
			got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
	})
	if err == nil {
		err = control
	}
	return got / 2, err
}

// kernelDrops is how many datagrams the kernel dropped for this socket, modulo
// 2^32: the same counter that SO_RXQ_OVFL and /proc/net/udp show.
func kernelDrops(conn *net.UDPConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info [unix.SK_MEMINFO_VARS]uint32
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		length := uint32(unsafe.Sizeof(info))
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return info[unix.SK_MEMINFO_DROPS], err
}
