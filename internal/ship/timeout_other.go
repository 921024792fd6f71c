//go:build !linux

package ship

import (
	"net"
	"time"
)

// setUserTimeout is the heartbeat's alone here.
func setUserTimeout(net.Conn, time.Duration) {}
