package ship

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// datagrams is the receiving side in a few lines: every datagram goes into memory.
type datagrams struct {
	conn   *net.UDPConn
	memory appendertest.Memory
	sizes  chan int
}

func newDatagrams(t *testing.T) *datagrams {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(4 << 20)
	d := &datagrams{conn: conn, sizes: make(chan int, 1<<16)}
	done := make(chan struct{})
	go func() { d.serve(); close(done) }() // ends when the socket is closed
	t.Cleanup(func() { conn.Close(); <-done })
	return d
}

func (d *datagrams) serve() {
	buf := make([]byte, 1<<16)
	for {
		n, err := d.conn.Read(buf)
		if err != nil {
			return
		}
		var f wire.Frame
		if wire.NewDecoder(bytes.NewReader(buf[:n])).Next(&f) == nil && f.Kind == wire.KindLossy {
			f.Batch.Kind = wire.StreamLossy
			d.sizes <- n
			d.memory.Append(context.Background(), f.Batch)
		}
	}
}

func (d *datagrams) to(t *testing.T, change ...func(*UDP)) *UDP {
	u := &UDP{Addr: d.conn.LocalAddr().String(), Agent: "a", Host: "h"}
	for _, f := range change {
		f(u)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// until waits for n lines of the stream.
func (d *datagrams) until(t *testing.T, id wire.StreamID, n int) []string {
	t.Helper()
	if err := d.memory.Until(bounded(t), func() bool { return len(d.memory.Lines(id)) >= n }); err != nil {
		t.Fatalf("%d of %d lines: %v", len(d.memory.Lines(id)), n, err)
	}
	return d.memory.Lines(id)
}

func TestLossyAppender(t *testing.T) {
	appendertest.RunLossy(t, func(t *testing.T) wire.Appender { return newDatagrams(t).to(t) })
}

func lossyLine(id wire.StreamID, text string) wire.Batch {
	return wire.Batch{Kind: wire.StreamLossy, Stream: id, Epoch: 1, Source: "app", End: int64(len(text)), Text: []byte(text)}
}

// TestSplit: whole lines, no datagram longer than asked but for one long line,
// and offsets and line numbers that go on without gap.
func TestSplit(t *testing.T) {
	f := func(text string, size int) {
		t.Helper()
		d := newDatagrams(t)
		u := d.to(t, func(u *UDP) { u.Datagram = size })
		id := wire.NewStreamID()
		if err := u.Append(bounded(t), lossyLine(id, text)); err != nil {
			t.Fatal(err)
		}
		d.until(t, id, strings.Count(text, "\n"))
		if got := string(d.memory.Text(id)); got != text {
			t.Errorf("got %.200q, want %.200q", got, text)
		}
		var offset, lines int64
		for _, b := range d.memory.Kept() {
			n := int64(bytes.Count(b.Text, []byte("\n")))
			if b.Offset != offset || b.FirstLine != lines || b.End <= b.Offset || n > wire.MaxCutLines {
				t.Errorf("a datagram of %d lines from %d to %d, after %d lines; want it from %d after %d", n, b.Offset, b.End, b.FirstLine, offset, lines)
			}
			offset, lines = b.End, lines+n
			if size := <-d.sizes; size > max(u.Datagram, 1400) && n > 1 {
				t.Errorf("%d lines in %d bytes, at most %d", n, size, u.Datagram)
			}
		}
		if offset != int64(len(text)) {
			t.Errorf("ends at %d, want %d", offset, len(text))
		}
	}
	f("one\n", 0)
	f(strings.Repeat("a line like many others\n", 1000), 0)
	f("short\n"+strings.Repeat("x", 5000)+"\nshort\n", 0)
	f(strings.Repeat("x", 60<<10)+"\nshort\n", 0)
	f(strings.Repeat("\n", 50<<10), 60<<10) // no collector accepts that many lines at a time
	f(strings.Repeat("x", 40<<10)+strings.Repeat("\n", 15<<10), 60<<10)
	f(strings.Repeat("ab\n", 100), 1)
}

func TestTooLongForADatagram(t *testing.T) {
	u := newDatagrams(t).to(t)
	err := u.Append(bounded(t), lossyLine(wire.NewStreamID(), strings.Repeat("x", 70<<10)+"\n"))
	if !errors.Is(err, wire.ErrRefused) || !strings.Contains(err.Error(), "max_line") {
		t.Errorf("got %v, want a refusal with the remedy", err)
	}
}

// TestNobodyListens: that is no error, but it is counted.
func TestNobodyListens(t *testing.T) {
	d := newDatagrams(t)
	d.conn.Close()
	u := d.to(t)
	id := wire.NewStreamID()
	for i := int64(0); u.Refused() == 0; i++ {
		b := lossyLine(id, "x\n")
		b.Offset, b.End = 2*i, 2*i+2
		if err := u.Append(bounded(t), b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOneLineOfOtherBytes: a line that is not the source's own bytes, such as a
// last one, whose newline was added, is sent alone with its whole span.
func TestOneLineOfOtherBytes(t *testing.T) {
	d := newDatagrams(t)
	u := d.to(t)
	b := lossyLine(wire.NewStreamID(), strings.Repeat("x", 3000)+"\n")
	b.Offset, b.End, b.FirstLine = 10, 10+3000, 7
	if err := u.Append(bounded(t), b); err != nil {
		t.Fatal(err)
	}
	d.until(t, b.Stream, 1)
	if k := d.memory.Kept()[0]; k.Offset != 10 || k.End != 3010 || k.FirstLine != 7 {
		t.Errorf("kept as %d to %d after %d lines", k.Offset, k.End, k.FirstLine)
	}
}

func TestUDPCancelled(t *testing.T) {
	d := newDatagrams(t)
	u := d.to(t)
	b := lossyLine(wire.NewStreamID(), "x\n")
	if err := u.Append(bounded(t), b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := u.Append(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; an agent that stops would continue to send", err)
	}
}
