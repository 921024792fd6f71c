package collector

import (
	"fmt"
	"io/fs"
	"net"

	"golang.org/x/sys/unix"
)

// controlMode lets the collector's group see: callers tells it from the collector's user.
const controlMode fs.FileMode = 0o660

// credentials returns the user that made a connection to a Unix socket, and names it with its process, as the
// kernel noted them then (SO_PEERCRED of unix(7)): "1000 pid 4711". uid is -1 if it is not known.
func credentials(nc net.Conn) (uid int, name string) {
	uid, name = -1, "unknown"
	c, ok := nc.(*net.UnixConn)
	if !ok {
		return uid, name
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return uid, name
	}
	raw.Control(func(fd uintptr) { // on an error the user is not known
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid, name = int(cred.Uid), fmt.Sprintf("%d pid %d", cred.Uid, cred.Pid)
		}
	})
	return uid, name
}
