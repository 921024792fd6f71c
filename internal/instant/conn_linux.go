//go:build !race

package instant

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// conn is a TCP connection. One goroutine at a time reads, and one writes.
type conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out transfer
}

// transfer is a read or a write, and its outcome.
type transfer struct {
	part  []byte
	n     int
	errno syscall.Errno
	do    func(fd uintptr) bool // reports whether it is done, else it waits
}

// Conn returns a TCP connection that reads, and writes few bytes, at once where that is possible. It returns any
// other connection as it is.
func Conn(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	x := &conn{TCPConn: tcp, raw: raw}
	x.in.do, x.out.do = x.in.read, x.out.write
	return x
}

// NetConn returns the connection below.
func (c *conn) NetConn() net.Conn { return c.TCPConn }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > most {
		return c.TCPConn.Read(p)
	}
	c.in.part = p
	if err := c.raw.Read(c.in.do); err != nil {
		return 0, err
	}
	if c.in.errno != 0 {
		return 0, c.failed("read", c.in.errno)
	}
	if c.in.n == 0 {
		return 0, io.EOF
	}
	return c.in.n, nil
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > most {
		return c.TCPConn.Write(p)
	}
	c.out.part, c.out.n = p, 0
	if err := c.raw.Write(c.out.do); err != nil {
		return c.out.n, err
	}
	if c.out.errno != 0 {
		return c.out.n, c.failed("write", c.out.errno)
	}
	return c.out.n, nil
}

// failed is the error of a call, as package net has it.
func (c *conn) failed(call string, errno syscall.Errno) error {
	return &net.OpError{Op: call, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(),
		Err: os.NewSyscallError(call, errno)}
}

func (x *transfer) read(fd uintptr) bool {
	x.n, x.errno = Read(fd, x.part)
	return x.errno != unix.EAGAIN
}

func (x *transfer) write(fd uintptr) bool {
	for x.n < len(x.part) {
		rest := x.part[x.n:]
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)))
		switch x.errno = errno; errno {
		case 0:
			x.n += int(n)
		case unix.EINTR:
		default:
			return errno != unix.EAGAIN
		}
	}
	return true
}

// Read reads from a descriptor that does not wait.
func Read(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}
