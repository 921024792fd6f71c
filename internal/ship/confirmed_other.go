//go:build !linux

package ship

import "net"

// confirmed is not known here: time alone tells.
func confirmed(net.Conn) (bytes uint64, pending, known bool) { return 0, false, false }
