//go:build !linux

package plain

import (
	"context"
	"net"
	"syscall"
)

func rawConn(net.Conn) syscall.RawConn { return nil }

func (in *intake) ready(uintptr) bool { return true }

func (in *intake) fill(ctx context.Context, wait bool) (int, error) {
	return in.fillBlocking(ctx, wait)
}

func (in *intake) unread() int { return 0 }
