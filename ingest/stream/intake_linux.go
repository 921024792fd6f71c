package stream

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn returns conn's descriptor if bytes can be read from it as they are.
func rawConn(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// Fill reads once behind what is there, and returns how many bytes came. With wait it
// waits for some, holding no block meanwhile; without, 0 means that there are none.
func (in *Intake) Fill(ctx context.Context, wait bool) (int, error) {
	if in.raw == nil {
		return in.fillBlocking(ctx, wait)
	}
	for {
		in.wait, in.short, in.got, in.err = wait, false, 0, nil
		var err error
		if wait {
			err = in.raw.Read(in.onReady)
		} else {
			err = in.raw.Control(in.onTry)
		}
		switch {
		case err != nil:
			return 0, err
		case in.short:
			if err := in.acquire(ctx, len(in.rest)+1); err != nil {
				return 0, err
			}
			continue
		}
		in.Have += in.got
		return in.got, in.err
	}
}

// ready is called with the descriptor, at first and whenever it may be
// readable; false waits for more.
func (in *Intake) ready(fd uintptr) bool {
	if in.Block == nil && !in.tryBlock(len(in.rest)+1) {
		in.short = true
		return true
	}
	n, err := readRetry(int(fd), in.Block[in.Have:])
	switch {
	case err == unix.EAGAIN:
		if in.wait && in.Have <= RestSize {
			in.Release(in.Block[:in.Have])
		}
		return !in.wait
	case err != nil:
		in.err = os.NewSyscallError("read", err)
	case n == 0:
		in.err = io.EOF
	default:
		in.got = n
	}
	return true
}

func readRetry(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// connector returns the process that made a connection, as the kernel says (unix(7),
// SO_PEERCRED); 0: it is none on a unix socket, or of a process that cannot be seen here.
func connector(nc net.Conn) (pid int) {
	c, ok := nc.(*net.UnixConn)
	if !ok {
		return 0
	}
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

// unread returns how many bytes the kernel holds for a connection.
func unread(raw syscall.RawConn) (n int) {
	if raw == nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return n
}
