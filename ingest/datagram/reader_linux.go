package datagram

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reader reads many datagrams with one system call, recvmmsg, on a
// socket of its own that blocks. Reading through the runtime's poller instead
// wakes a thread for nearly every datagram that arrives, even while none is
// wanted, which cost as much as the reading.
type reader struct {
	fd    int
	pause unix.Timespec // see read
	flags int
	last  int // datagrams of the last read

	memory []byte // mapped: of its space for each datagram only touched pages are ever there
	heads  [readAtOnce]mmsghdr
	iovecs [readAtOnce]unix.Iovec
	names  [readAtOnce]unix.RawSockaddrInet6

	stride      int                     // bytes from one datagram to the next
	credentials [][credentialsSize]byte // of each datagram, on a unix socket; nil: there are none
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

const (
	readAtOnce  = 128
	maxUDP      = 64 << 10
	maxUnix     = 256 << 10 // the system allows 208 KiB by default
	strideMore  = 5 * 64    // or all datagrams would share a few lines of the cache
	readTimeout = 200 * time.Millisecond
	mostPause   = time.Millisecond
)

// newReader returns a reader of conn's socket, and closes conn, so that the poller
// forgets the socket. After an error, conn is open. buffer is the size of its receive buffer.
func newReader(conn Conn, buffer int) (*reader, error) {
	r := &reader{flags: unix.MSG_WAITFORONE, stride: maxUDP + strideMore}
	var err error
	if r.fd, err = takeOver(conn); err != nil {
		return nil, fmt.Errorf("take over the socket of %v: %w", conn.LocalAddr(), err)
	}
	if _, ok := conn.(*net.UnixConn); ok {
		r.credentials, r.stride = make([][credentialsSize]byte, readAtOnce), maxUnix+strideMore
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			unix.Close(r.fd)
			return nil, os.NewSyscallError("setsockopt SO_PASSCRED", err)
		}
	}
	if r.memory, err = mapMemory(readAtOnce * r.stride); err != nil {
		unix.Close(r.fd)
		return nil, fmt.Errorf("map memory for datagrams: %w", err)
	}
	// A pause must not fill an eighth of the buffer, at a datagram of 1 KiB,
	// as the kernel counts, each microsecond.
	if pause := time.Duration(buffer/8>>10) * time.Microsecond; pause >= 100*time.Microsecond {
		r.pause = unix.NsecToTimespec(min(pause, mostPause).Nanoseconds())
	}
	for i := range r.heads {
		h := &r.heads[i]
		r.iovecs[i].Base = &r.memory[i*r.stride]
		r.iovecs[i].SetLen(r.stride - strideMore)
		h.Iov, h.Name = &r.iovecs[i], (*byte)(unsafe.Pointer(&r.names[i]))
		h.SetIovlen(1)
	}
	return r, nil
}

func mapMemory(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// takeOver closes conn and returns its socket as a descriptor whose reads block for at
// most readTimeout.
func takeOver(conn Conn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	control := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, control); err != nil {
		return 0, err
	}
	timeout := unix.NsecToTimeval(readTimeout.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err = errors.Join(err, unix.SetNonblock(fd, false)); err != nil {
		unix.Close(fd)
		return 0, err
	}
	conn.Close()
	return fd, nil
}

func (r *reader) close() {
	unix.Close(r.fd)
	unix.Munmap(r.memory)
}

// refuse makes the kernel refuse what is sent to a unix socket from now on. What it holds can still
// be read, so that nothing is in the socket when it is closed: its sender could not know.
func (r *reader) refuse() { unix.Shutdown(r.fd, unix.SHUT_RD) }

// drain makes further reads return os.ErrDeadlineExceeded when nothing is there.
func (r *reader) drain() {
	r.flags = unix.MSG_DONTWAIT
	r.pause = unix.Timespec{}
}

// read waits for datagrams and returns how many came; os.ErrDeadlineExceeded after
// a while without one. When the last read brought several, but not as many as
// fit, it pauses first to let them come together: waking up for each would cost
// more than reading it. A datagram that comes alone never waits.
func (r *reader) read() (int, error) {
	if 1 < r.last && r.last < readAtOnce && r.pause != (unix.Timespec{}) {
		unix.Nanosleep(&r.pause, nil)
	}
	for i := range r.heads {
		r.heads[i].Namelen = unix.SizeofSockaddrInet6
	}
	for i := range r.credentials {
		r.heads[i].Control = &r.credentials[i][0]
		r.heads[i].SetControllen(credentialsSize)
	}
	r.last = 0
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.heads)), readAtOnce,
		uintptr(r.flags), 0, 0)
	switch {
	case errno == unix.EAGAIN:
		return 0, os.ErrDeadlineExceeded
	case errno == unix.EINTR:
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("recvmmsg", errno)
	}
	r.last = int(n)
	return r.last, nil
}

// datagram sets the i-th datagram of the last read, which is valid until the next read. It
// reports whether the end of it is lost.
func (r *reader) datagram(i int, d *Datagram) (truncated bool) {
	h := &r.heads[i]
	d.Data = r.memory[i*r.stride:][:h.n]
	if r.credentials != nil {
		d.PID = sender(r.credentials[i][:h.Controllen])
		return h.Flags&unix.MSG_TRUNC != 0
	}
	switch name := &r.names[i]; name.Family {
	case unix.AF_INET:
		d.Peer = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	case unix.AF_INET6:
		d.Peer = netip.AddrFrom16(name.Addr).Unmap()
	}
	return h.Flags&unix.MSG_TRUNC != 0
}

// credentialsSize is room for the credentials of a sender, and 8 more bytes.
const credentialsSize = unix.SizeofCmsghdr + unix.SizeofUcred + 12

// sender returns the process that sent a datagram, as the kernel says (unix(7), SCM_CREDENTIALS);
// 0: it is not known here, as one in another container.
func sender(control []byte) int {
	if len(control) < unix.SizeofCmsghdr+unix.SizeofUcred {
		return 0
	}
	if h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0])); h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_CREDENTIALS {
		return 0
	}
	return int((*unix.Ucred)(unsafe.Pointer(&control[unix.SizeofCmsghdr])).Pid)
}

// setReceiveBuffer asks for n bytes, beyond the system's limit if we may, and
// returns what the kernel granted. (It reports the double, for its own books.)
func setReceiveBuffer(conn Conn, n int) (got int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("receive buffer of %v: %w", conn.LocalAddr(), err)
	}
	control := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, n)
		}
		if err == nil {
			got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
	})
	return got / 2, errors.Join(err, control)
}

// drops returns how many datagrams the kernel dropped for this socket, modulo 2^32:
// the same counter that SO_RXQ_OVFL and /proc/net/udp show.
func (r *reader) drops() (uint32, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(r.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return info[unix.SK_MEMINFO_DROPS], nil
}
