// Package freeport finds ports for the servers of tests.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

// The range to choose from, where the system's own range allows it.
const (
	first = 10240
	last  = 32767
)

// Find returns n ports of the loopback interface that are free for TCP and for UDP.
//
// They are not those that a listener on port 0 gets: the system hands these out to any other
// process, and to outgoing connections, as soon as a server is stopped. A server that a test
// stops and starts again would then meet strangers at its address, or fail to bind it.
func Find(n int) (ports []int, err error) {
	end := min(last, systemRange()-1)
	if end <= first {
		return nil, fmt.Errorf("no ports between %d and the system's own range, which begins at %d: "+
			"see net.ipv4.ip_local_port_range", first, end+1)
	}
	var held []interface{ Close() error } // until all are found, so that they differ
	defer func() {
		for _, h := range held {
			err = errors.Join(err, h.Close())
		}
	}()
	for tries := 0; len(ports) < n; tries++ {
		port := first + rand.IntN(end-first+1)
		tcp, udp, err := bind(port)
		if err != nil {
			if tries > 1000 {
				return nil, fmt.Errorf("find a free port: %w", err)
			}
			continue
		}
		held, ports = append(held, tcp, udp), append(ports, port)
	}
	return ports, nil
}

// One is Find for one port.
func One() (int, error) {
	ports, err := Find(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// bind holds a port.
func bind(port int) (net.Listener, net.PacketConn, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, udp, nil
}

// systemRange returns where the range begins from which the system takes ports for port 0
// and for outgoing connections (ip(7), ip_local_port_range).
func systemRange() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if fields := strings.Fields(string(b)); err == nil && len(fields) == 2 {
		if n, err := strconv.Atoi(fields[0]); err == nil {
			return n
		}
	}
	return 49152 // RFC 6335, section 6
}
