package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"fanin/internal/freeport"
)

// relpOpen begins a session of RELP.
const relpOpen = "1 open 30 relp_version=0\ncommands=syslog\n"

// relpConns is how many hostile connections of RELP there are at a time, from 40 addresses.
const relpConns = 10_000

// unreadConns is how many of them send as many frames as they can and read no answer. More of them
// would measure the processors and not the memory: each of their frames is answered.
const unreadConns = 1000

// relpAttacks are what hostile clients of RELP do. Each text is sent by an equal part of the connections.
func relpAttacks() []attack {
	answers := strings.Repeat("1 open 0\n", 60)
	large := strings.Repeat(answers+"2 syslog 60000 "+strings.Repeat("x", 60_000)+"\n", 40)
	huge := strings.Repeat(answers, 5) + "2 syslog 100000 " + strings.Repeat("x", 90_000)
	equal := strings.Builder{}
	for n := range 100 {
		fmt.Fprintf(&equal, "%d syslog 40000 %-40000d\n", n+2, n)
	}
	return []attack{
		{"RELP messages whose answers are not read", relp(240, fillUnread, relpOpen+large, relpOpen+huge,
			relpOpen+strings.Repeat("2 syslog 1 x\n", 9000))},
		{"RELP messages that seem to be repeats", repeatUndecided([]byte(relpOpen+equal.String()), 100)},
		{"RELP sessions that stall", relp(relpConns, stall, "", relpOpen[:20], relpOpen,
			relpOpen+"2 syslog 99999 "+strings.Repeat("x", 40<<10))},
		{"RELP lengths that are wrong", relp(relpConns, stall, relpOpen+"2 syslog 5 longer than that\n",
			relpOpen+"2 syslog 999999999 x",
			relpOpen+"2 syslog 4294967296 x\n", relpOpen+"2 syslog -1 x\n", relpOpen+"2 syslog 9 x\n")},
		{"RELP clients that do not read", relp(unreadConns, fillUnread, relpOpen+strings.Repeat("1 open 0\n", 7000),
			relpOpen+strings.Repeat("2 no 0\n", 9000))},
	}
}

// relp is many connections, each of which sends one of the texts. What is closed comes again after a few
// seconds.
func relp(conns int, misbehave func(*target, net.Conn, []byte), texts ...string) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		repeatAfter(ctx, 5*time.Second, conns, func(n int) {
			c, err := dial(ctx, byte(2+n%40), t.relp)
			if err != nil {
				return
			}
			defer c.Close()
			t.connected.Add(1)
			misbehave(t, c, []byte(texts[n%len(texts)]))
		})
	}
}

// fillUnread sends b, and a little more now and then, until the other side has had enough. It reads nothing.
func fillUnread(t *target, c net.Conn, b []byte) {
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	for t.write(c, b) {
		b = []byte("2 no 0\n")
		time.Sleep(time.Second)
	}
	t.ended.Add(1)
}

// repeatUndecided is clients that break after their messages were acknowledged, and then send most of them
// again, which may be repeats, and no more.
func repeatUndecided(b []byte, messages int) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		repeatAfter(ctx, 5*time.Second, 240, func(n int) {
			c, err := dial(ctx, byte(2+n%40), t.relp)
			if err != nil {
				return
			}
			t.write(c, b)
			for left, answers := messages, bufio.NewReader(c); left > 0 && err == nil; left-- {
				_, err = answers.ReadString('\n')
			}
			c.Close()
			if c, err = dial(ctx, byte(2+n%40), t.relp); err != nil {
				return
			}
			defer c.Close()
			t.connected.Add(1)
			stall(t, c, b[:len(b)*9/10])
		})
	}
}

// relpTable is the listener for RELP as TOML, and where it is.
func relpTable() (table, at string, err error) {
	port, err := freeport.One()
	if err != nil {
		return "", "", err
	}
	at = fmt.Sprintf("127.0.0.1:%d", port)
	return fmt.Sprintf("[[collector.relp]]\nlisten = %q\n", at), at, nil
}
