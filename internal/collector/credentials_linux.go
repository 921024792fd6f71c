package collector

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// credentials names the user and the process that made a connection to a Unix socket, as the kernel
// noted it then (SO_PEERCRED of unix(7)): "1000 pid 4711".
func credentials(nc net.Conn) string {
	const unknown = "unknown"
	c, ok := nc.(*net.UnixConn)
	if !ok {
		return unknown
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return unknown
	}
	text := unknown
	raw.Control(func(fd uintptr) { // on an error the process is not known
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			text = fmt.Sprintf("%d pid %d", cred.Uid, cred.Pid)
		}
	})
	return text
}
