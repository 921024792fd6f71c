package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/wire"
)

// target is where the attacks go, and how many bytes they have sent there.
type target struct {
	lines, http string
	zeromq      [3]string // by zeromqSocket
	gelf, relp  string
	sent        atomic.Int64
	connected   atomic.Int64
	ended       atomic.Int64 // connections that the collector closed
}

// attack is a way to misbehave, until ctx ends.
type attack struct {
	name string
	run  func(ctx context.Context, t *target)
}

// attacks are all, each bounded in what it opens and sends.
func attacks() []attack {
	claim, bomb, lineBomb := frame(wire.MaxText), zstdFrame(onlyLine()), zstdFrame(bytes.Repeat([]byte("\n"), wire.MaxText))
	return append(slices.Concat(zeromqAttacks(), gelfAttacks(), syslogAttacks(), relpAttacks()), []attack{
		{"frames that announce 4 MiB and stall", swarm(func(t *target, c net.Conn) { stall(t, c, claim[:200]) })},
		{"frames that stall after 1 MiB", swarm(func(t *target, c net.Conn) { stall(t, c, claim[:1<<20]) })},
		{"frames at 8 KiB/s", swarm(func(t *target, c net.Conn) { drip(t, c, claim, 8<<10) })},
		{"frames at 100 KiB/s", swarm(func(t *target, c net.Conn) { drip(t, c, claim, 100<<10) })},
		{"half lines that stall", plain(240, func(t *target, c net.Conn) { stall(t, c, bytes.Repeat([]byte("x"), 300<<10)) })},
		{"idle connections", plain(1000, func(t *target, c net.Conn) { stall(t, c, nil) })},
		{"compressed lines", swarm(func(t *target, c net.Conn) { stall(t, c, lineBomb) })},
		{"one compressed line", swarm(func(t *target, c net.Conn) { stall(t, c, bomb) })},
		{"datagrams of random streams", randomStreams},
		{"HTTP connections kept alive", keepAlive},
	}...)
}

// swarm is 200 agents from one address and 40 from others, which come again when
// they are closed.
func swarm(misbehave func(*target, net.Conn)) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		repeat(ctx, 240, func(n int) {
			from := byte(2)
			if n >= 200 {
				from = byte(n - 200 + 3)
			}
			c, err := dial(ctx, from, t.lines)
			if err != nil {
				return
			}
			defer c.Close()
			h := wire.Hello{Version: wire.Version, Agent: fmt.Sprint("attacker-", n), Instance: wire.StreamID{1, byte(n)}, Run: 1, Host: "attacker"}
			t.write(c, wire.AppendHello(nil, h))
			var f wire.Frame
			if wire.NewDecoder(c).Next(&f) == nil && f.Kind == wire.KindWelcome {
				t.connected.Add(1)
				misbehave(t, c)
			}
		})
	}
}

// plain is connections that send no agent's greeting, from 40 addresses.
func plain(conns int, misbehave func(*target, net.Conn)) func(context.Context, *target) {
	return func(ctx context.Context, t *target) {
		repeat(ctx, conns, func(n int) {
			c, err := dial(ctx, byte(2+n%40), t.lines)
			if err != nil {
				return
			}
			defer c.Close()
			t.connected.Add(1)
			misbehave(t, c)
		})
	}
}

// comeAgain is how soon a connection comes again that was ended.
const comeAgain = 500 * time.Millisecond

// repeat does f(0) to f(n-1) side by side, again and again, until ctx ends.
func repeat(ctx context.Context, n int, f func(n int)) { repeatAfter(ctx, comeAgain, n, f) }

// repeatAfter is repeat with another pause.
func repeatAfter(ctx context.Context, pause time.Duration, n int, f func(n int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				f(i)
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
}

// dial connects from 127.0.0.from; the connection ends with ctx.
func dial(ctx context.Context, from byte, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}, Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", to)
	if err == nil {
		context.AfterFunc(ctx, func() { c.Close() })
	}
	return c, err
}

func (t *target) write(c net.Conn, b []byte) bool {
	n, err := c.Write(b)
	t.sent.Add(int64(n))
	return err == nil
}

// stall sends b and waits until the other side has had enough.
func stall(t *target, c net.Conn, b []byte) {
	t.write(c, b)
	io.Copy(io.Discard, c)
	t.ended.Add(1)
}

// drip sends b at rate bytes a second.
func drip(t *target, c net.Conn, b []byte, rate int) {
	over := make(chan struct{})
	go func() { // ends with the connection
		defer close(over)
		io.Copy(io.Discard, c)
	}()
	for len(b) > 0 {
		n := min(rate/10, len(b))
		if !t.write(c, b[:n]) {
			break
		}
		b = b[n:]
		select {
		case <-over:
			t.ended.Add(1)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	c.Close()
	<-over
}

// frame is a batch with n bytes of text.
func frame(n int) []byte {
	b := wire.Batch{Stream: wire.NewStreamID(), End: int64(n), Text: bytes.Repeat([]byte("x"), n)}
	b.Text[n-1] = '\n'
	return append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...)
}

func onlyLine() []byte { return append(bytes.Repeat([]byte("x"), wire.MaxLine-1), '\n') }

// zstdFrame is a batch with a compressed text.
func zstdFrame(text []byte) []byte {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		return nil
	}
	defer z.Close()
	packed := z.EncodeAll(text, nil)
	b := wire.Batch{Stream: wire.NewStreamID(), End: int64(len(text)), Text: text}
	for n := wire.MaxCutLines; n < len(text) && text[0] == '\n'; n += wire.MaxCutLines {
		b.Cuts = append(b.Cuts, wire.Cut{Text: n, End: int64(n)})
	}
	return append(wire.AppendBatch(nil, &b, 1, packed), packed...)
}

// randomStreams sends 5,000 datagrams a second, each of another stream.
func randomStreams(ctx context.Context, t *target) {
	c, err := net.Dial("udp", t.lines)
	if err != nil {
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		for range 50 {
			b := wire.Batch{Kind: wire.StreamLossy, Agent: "attacker", Host: "attacker", Source: "flood", Stream: wire.NewStreamID(), End: 2, Text: []byte("x\n")}
			n, _ := c.Write(wire.AppendLossy(nil, &b))
			t.sent.Add(int64(n))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// keepAlive keeps 500 connections of HTTP open, and asks now and then.
func keepAlive(ctx context.Context, t *target) {
	repeat(ctx, 500, func(n int) {
		c, err := dial(ctx, byte(2+n%40), t.http)
		if err != nil {
			return
		}
		defer c.Close()
		t.connected.Add(1)
		answers := bufio.NewReader(c)
		for t.write(c, []byte("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")) {
			if _, err := answers.ReadString('\n'); err != nil {
				t.ended.Add(1)
				return
			}
			answers.Discard(answers.Buffered())
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	})
}
