package unixsock

import (
	"cmp"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlSize is more room than the credentials of a datagram need.
const controlSize = 64

// passCredentials has the kernel add to each datagram which process sent it, from the first one on:
// it is called before the socket has a name.
func passCredentials(_, _ string, c syscall.RawConn) error {
	var serr error
	err := c.Control(func(fd uintptr) {
		serr = os.NewSyscallError("setsockopt SO_PASSCRED",
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	})
	return cmp.Or(err, serr)
}

// senderOf returns the process that sent a datagram, 0 if it is not known.
func senderOf(control []byte) int {
	all, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for i := range all {
		if cred, err := unix.ParseUnixCredentials(&all[i]); err == nil {
			return int(cred.Pid)
		}
	}
	return 0
}

// peerOf returns the process that made a connection, 0 if it is not known.
func peerOf(c *net.UnixConn) (pid int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { // on an error the process is not known
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func truncated(flags int) bool { return flags&unix.MSG_TRUNC != 0 }
