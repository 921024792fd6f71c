package zmtp

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKeepAlive: on both sides of a connection the kernel asks for a silent host for 30 s.
func TestKeepAlive(t *testing.T) {
	ln, err := Endpoint{"tcp", "127.0.0.1:0"}.bind()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := Endpoint{"tcp", ln.Addr().String()}.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	for _, nc := range []net.Conn{ours, theirs} {
		raw, err := nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			idle, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			interval, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
			count, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
			on, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
			if on != 1 || idle+interval*count != 30 {
				t.Errorf("keep-alive %d: %d s, and %d probes each %d s", on, idle, count, interval)
			}
		})
	}
}
