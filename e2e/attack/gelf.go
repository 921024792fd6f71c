package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"time"

	"fanin/internal/freeport"
)

// gelfAttacks are what hostile senders of GELF do.
func gelfAttacks() []attack {
	bomb := gelfBomb()
	return []attack{
		{"GELF chunks of messages without an end", gelfFlood(func(from, n int) []byte {
			return gelfChunk(from, n, 0, 2, strings.Repeat("x", 1400))
		})},
		{"GELF chunks that are small and many", gelfFlood(func(from, n int) []byte {
			return gelfChunk(from, n/128, byte(n), 128, "x")
		})},
		{"GELF chunks that cannot be", gelfFlood(func(from, n int) []byte {
			return gelfChunk(from, 7, byte(n), byte(n>>3), strings.Repeat("x", n%64))
		})},
		{"GELF bombs", gelfFlood(func(int, int) []byte { return bomb })},
		{"GELF bombs in chunks", gelfFlood(func(from, n int) []byte {
			half := len(bomb) / 2
			if n%2 == 0 {
				return gelfChunk(from, n/2, 0, 2, string(bomb[:half]))
			}
			return gelfChunk(from, n/2, 1, 2, string(bomb[half:]))
		})},
		{"GELF connections of large messages that stall", gelfConns(`{"short_message":"` + strings.Repeat("x", 300<<10))},
		{"GELF connections of nothing but braces", gelfConns(strings.Repeat("{", 200<<10) + "\x00")},
	}
}

// gelfChunk is a chunk.
func gelfChunk(from, id int, number, count byte, data string) []byte {
	b := binary.BigEndian.AppendUint32([]byte("\x1e\x0f"), uint32(from))
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	return append(append(b, number, count), data...)
}

// gelfBomb is a compressed message of 64 MiB.
func gelfBomb() []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(`{"short_message":"`))
	z.Write(bytes.Repeat([]byte("x"), 64<<20))
	z.Write([]byte(`"}`))
	z.Close()
	return b.Bytes()[:min(b.Len(), 60<<10)]
}

// gelfSenders is how many addresses send datagrams, as if they were forged.
const gelfSenders = 250

// gelfFlood sends 20,000 datagrams a second, in turn from gelfSenders addresses.
func gelfFlood(datagram func(from, n int) []byte) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		to, err := net.ResolveUDPAddr("udp", t.gelf)
		if err != nil {
			return
		}
		var conns []*net.UDPConn
		for i := range gelfSenders {
			c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 1, byte(1+i))}, to)
			if err != nil {
				return
			}
			defer c.Close()
			conns = append(conns, c)
		}
		for n := 0; ctx.Err() == nil; n++ {
			for i := range 200 {
				from := (200*n + i) % gelfSenders
				b, _ := conns[from].Write(datagram(from, (200*n+i)/gelfSenders))
				t.sent.Add(int64(b))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// gelfConns is 500 connections from 40 addresses, each of which sends a text and waits.
func gelfConns(text string) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		repeat(ctx, 500, func(n int) {
			c, err := dial(ctx, byte(2+n%40), t.gelf)
			if err != nil {
				return
			}
			defer c.Close()
			t.connected.Add(1)
			stall(t, c, []byte(text))
		})
	}
}

// gelfTable is the listener for GELF as TOML, and where it is.
func gelfTable() (table, at string, err error) {
	port, err := freeport.One()
	if err != nil {
		return "", "", err
	}
	at = fmt.Sprintf("127.0.0.1:%d", port)
	return fmt.Sprintf("[[collector.gelf]]\nlisten = %q\nnetwork = \"both\"\n", at), at, nil
}
