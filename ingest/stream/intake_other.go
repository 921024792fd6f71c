//go:build !linux

package stream

import (
	"context"
	"net"
	"syscall"
)

func rawConn(net.Conn) syscall.RawConn { return nil }

func (in *Intake) ready(uintptr) bool { return true }

// Fill reads once behind what is there, and returns how many bytes came. With wait it waits for
// some; without, it returns 0: what can be read without waiting is not known here.
func (in *Intake) Fill(ctx context.Context, wait bool) (int, error) {
	return in.fillBlocking(ctx, wait)
}

func connector(net.Conn) int { return 0 }

func unread(syscall.RawConn) int { return 0 }
