//go:build !linux || race

package instant

import (
	"net"
	"os"
)

// The race detector learns from package syscall that what was read had been written before.

func readCached(*os.File, int64, [][]byte) (n int, ended bool) { return 0, false }

// Conn returns a connection as it is.
func Conn(c net.Conn) net.Conn { return c }
