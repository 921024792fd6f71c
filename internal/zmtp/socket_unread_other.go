//go:build !linux

package zmtp

import "net"

// unread returns 0: how much was not read can be asked on Linux only.
func unread(net.Conn) int { return 0 }
