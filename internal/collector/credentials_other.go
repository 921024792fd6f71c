//go:build !linux

package collector

import "net"

// credentials would name the user that made a connection to a Unix socket.
func credentials(net.Conn) string { return "unknown" }
