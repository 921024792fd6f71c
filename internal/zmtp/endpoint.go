package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Endpoint is an address of a socket. Its text is ZeroMQ's (zmq_tcp(7), zmq_ipc(7)):
//
//	tcp://127.0.0.1:5557    an address, or a name of a host
//	tcp://*:5557            all addresses of this machine; to bind only
//	tcp://[::1]:5557        IPv6
//	ipc:///run/app.sock     a Unix socket
//	ipc://@app              a Unix socket without a file (Linux)
type Endpoint struct {
	Network string // as package net names it: "tcp" or "unix"
	Address string // host:port, with "*" for all addresses or any port; or a path
}

// maxPath is how long the path of a Unix socket may be (unix(7)).
const maxPath = 107

// ParseEndpoint reads the text of an endpoint.
func ParseEndpoint(text string) (Endpoint, error) {
	scheme, address, ok := strings.Cut(text, "://")
	switch {
	case ok && scheme == "tcp":
		return parseTCP(text, address)
	case ok && scheme == "ipc":
		if address == "" || len(address) > maxPath {
			return Endpoint{}, fmt.Errorf("%q: want a path of 1 to %d bytes, as in ipc:///run/app.sock", text, maxPath)
		}
		return Endpoint{"unix", address}, nil
	case ok:
		return Endpoint{}, fmt.Errorf("%q: the transport %s:// is not supported; want tcp:// or ipc://", text, scheme)
	}
	return Endpoint{}, fmt.Errorf("%q is no endpoint; want one as tcp://127.0.0.1:5557 or ipc:///run/app.sock", text)
}

func parseTCP(text, address string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, ";/") {
		return Endpoint{}, fmt.Errorf("%q: want a host and a port, as in tcp://127.0.0.1:5557", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "*" && err != nil {
		return Endpoint{}, fmt.Errorf("%q: the port is %q; want a number from 0 to 65535", text, port)
	} else if port != "*" {
		port = strconv.FormatUint(n, 10)
	}
	return Endpoint{"tcp", net.JoinHostPort(host, port)}, nil
}

// String returns the text of the endpoint.
func (e Endpoint) String() string {
	if e.Network == "unix" {
		return "ipc://" + e.Address
	}
	return "tcp://" + e.Address
}

// Local reports whether only this machine can reach the endpoint, as far as its text
// shows.
func (e Endpoint) Local() bool {
	if e.Network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(e.Address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// CanConnect returns why the endpoint cannot be connected to: it may only be bound.
func (e Endpoint) CanConnect() error {
	host, port, _ := net.SplitHostPort(e.Address)
	if e.Network == "tcp" && (host == "*" || port == "*" || port == "0") {
		return fmt.Errorf("%q can only be bound: to connect, name a host and a port", e)
	}
	return nil
}

// Listen returns the address to bind, as package net writes it: ":5557" for
// tcp://*:5557.
func (e Endpoint) Listen() string {
	if e.Network == "unix" {
		return e.Address
	}
	host, port, _ := net.SplitHostPort(e.Address)
	if host == "*" {
		host = ""
	}
	if port == "*" {
		port = "0"
	}
	return net.JoinHostPort(host, port)
}

// keepAlive has the kernel end a connection that is idle 30 s after the other host has gone.
// Unlike an answer to a PING, the other kernel's answer does not depend on whether the peer
// reads: libzmq reads no PING while a queue of its application is full.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
}

// bind listens. A file of a Unix socket that no process serves any more is removed first.
func (e Endpoint) bind() (net.Listener, error) {
	c := net.ListenConfig{KeepAliveConfig: keepAlive()}
	ln, err := c.Listen(context.Background(), e.Network, e.Listen())
	if e.Network == "unix" && errors.Is(err, syscall.EADDRINUSE) && e.abandoned() {
		if err := os.Remove(e.Address); err != nil {
			return nil, fmt.Errorf("bind %s: remove the old socket: %w", e, err)
		}
		ln, err = c.Listen(context.Background(), e.Network, e.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", e, err)
	}
	return ln, nil
}

// abandoned reports whether the file of a Unix socket is one that no process serves:
// what a process leaves behind that was killed.
func (e Endpoint) abandoned() bool {
	fi, err := os.Lstat(e.Address)
	if err != nil || fi.Mode().Type() != fs.ModeSocket {
		return false
	}
	nc, err := net.DialTimeout(e.Network, e.Address, time.Second)
	if err == nil {
		nc.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// dialTime bounds an attempt to connect.
const dialTime = 10 * time.Second

// dial connects.
func (e Endpoint) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime, KeepAliveConfig: keepAlive()}
	return d.DialContext(ctx, e.Network, e.Address)
}
