package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/internal/freeport"
	"fanin/internal/zmtp"
)

// What ZeroMQ peers send (RFC 37): a greeting, READY, frames.
const (
	nullGreeting  = "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x01NULL"
	curveGreeting = "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x01CURVE"
	pushReady     = "\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
	subReady      = "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
	curveHello    = "\x04\xc8\x05HELLO\x01\x00" // 192 bytes follow
	ping          = "\x04\x07\x04PING\x00\x00"
)

// greeting fills a greeting up to its 64 bytes.
func greeting(begin string) string { return begin + strings.Repeat("\x00", 64-len(begin)) }

// longFrame is the header of a frame that claims size bytes.
func longFrame(flags byte, size uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{flags | 2}, size))
}

// zeromqConns is how many hostile connections there are at a time, from 40 addresses.
const zeromqConns = 10_000

// zeromqAttacks are what hostile ZeroMQ peers do. Each kind of connection is an equal part.
func zeromqAttacks() []attack {
	null, curve := greeting(nullGreeting), greeting(curveGreeting)
	return []attack{
		{"ZeroMQ peers that do not complete a handshake", zeromq(
			zeromqPeer{pull, ""},
			zeromqPeer{pull, nullGreeting},
			zeromqPeer{pull, null},
			zeromqPeer{pull, null + pushReady[:20]},
			zeromqPeer{pull, null + "\x06\x00\x00\x00\x00\x00\x00\x07\x00" + strings.Repeat("x", 1000)},
			zeromqPeer{curved, curve},
			zeromqPeer{curved, curve + curveHello + strings.Repeat("\x07", 192)},
		)},
		{"ZeroMQ peers of large messages that stall", zeromq(
			zeromqPeer{pull, null + pushReady + longFrame(0, 1<<20) + strings.Repeat("x", 40<<10)},
			zeromqPeer{pull, null + pushReady + longFrame(1, 500<<10) + strings.Repeat("x", 64<<10)},
			zeromqPeer{pull, null + pushReady + strings.Repeat("\x01\x00", 500)},
		)},
		{"ZeroMQ peers of frames that cannot be", zeromq(
			zeromqPeer{pull, null + pushReady + longFrame(0, 1<<63)},
			zeromqPeer{pull, null + pushReady + longFrame(0, 1<<62)},
			zeromqPeer{pull, null + pushReady + longFrame(4, 1<<20)},
			zeromqPeer{pull, null + pushReady + strings.Repeat(ping, 1000)},
			zeromqPeer{pull, null + pushReady + "\x01\x00" + strings.Repeat(ping, 1000)},
			zeromqPeer{pull, strings.Repeat("GET / HTTP/1.1\r\n", 10)},
		)},
		{"ZeroMQ subscribers that do not read", zeromq(append(slices.Repeat([]zeromqPeer{
			{pub, null + subReady + subscriptions(400)},
			{pub, null + subReady + subscriptions(2000)},
			{pub, null + subReady + longFrame(0, 1<<20) + "\x01" + strings.Repeat("t", 10<<10)},
		}, 20), zeromqPeer{pub, null + subReady + "\x04\x0a\x09SUBSCRIBE"})...)}, // one in 61 gets all lines
	}
}

// subscriptions are n different ones.
func subscriptions(n int) string {
	var all strings.Builder
	for i := range n {
		topic := fmt.Sprintf("topic-%08d", i)
		fmt.Fprintf(&all, "\x04%c\x09SUBSCRIBE%s", 10+len(topic), topic)
	}
	return all.String()
}

// zeromqSocket is a socket of the collector.
type zeromqSocket int

const (
	pull zeromqSocket = iota
	curved
	pub
)

// zeromqPeer connects to a socket, sends something, and waits.
type zeromqPeer struct {
	to   zeromqSocket
	send string
}

// zeromq is zeromqConns connections, each of one of the peers. What is closed comes again after
// a few seconds: all of them together shall not take the machine.
func zeromq(peers ...zeromqPeer) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		repeatAfter(ctx, 5*time.Second, zeromqConns, func(n int) {
			p := peers[n%len(peers)]
			c, err := dial(ctx, byte(2+n%40), t.zeromq[p.to])
			if err != nil {
				return
			}
			defer c.Close()
			t.connected.Add(1)
			if p.to == pub {
				t.write(c, []byte(p.send))
				waitUnread(ctx, c)
				t.ended.Add(1)
				return
			}
			stall(t, c, []byte(p.send))
		})
	}
}

// waitUnread waits until the connection ends, and reads nothing.
func waitUnread(ctx context.Context, c net.Conn) {
	for ctx.Err() == nil {
		time.Sleep(time.Second)
		if _, err := c.Write([]byte(ping)); err != nil {
			return
		}
	}
}

// zeromqTables are the sockets of the collector as TOML, and where they are.
func zeromqTables(dir string) (tables string, at [3]string, err error) {
	for i := range at {
		port, err := freeport.One()
		if err != nil {
			return "", at, err
		}
		at[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	secret, err := zmtp.NewSecretKey()
	if err != nil {
		return "", at, err
	}
	name := filepath.Join(dir, "curve")
	if err := zmtp.WriteKeyPair(name, secret); err != nil {
		return "", at, err
	}
	return fmt.Sprintf("[[collector.zmq]]\npull = [\"tcp://%s\"]\n[[collector.zmq]]\npull = [\"tcp://%s\"]\n"+
		"curve = {secret_file = %q}\n[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://%s\"\n",
		at[pull], at[curved], name+".key_secret", at[pub]), at, nil
}
