package plain_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/plain"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

func TestPlainLines(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Source: "app"})
	nc := ingesttest.Dial(t, addr)
	io.WriteString(nc, "one\ntwo\nthr")
	k.WaitText(t, "one\ntwo\n")
	io.WriteString(nc, "ee\nno end")
	nc.Close()
	batches := k.WaitText(t, "one\ntwo\nthree\nno end\n")
	for _, b := range batches {
		if b.Host != "127.0.0.1" || b.Source != "app" || b.Input != "tcp" || !b.Stream.IsZero() || b.Time == 0 {
			t.Errorf("batch %+v", b)
		}
	}
}

// Every way to cut the stream into writes gives the same lines.
func TestPlainByteByByte(t *testing.T) {
	for _, text := range []string{"\x97\xa5fanim\n", "\x16 a\n", "\x16\x03\x05\n", "\n\n", "a\nb\xff\x00\n", "GET it HTTP\n", "GET / x y\n", "\x97\n",
		"<14>a\x00<14>b\x00", "<9>a\n\x00b\x00\nc\x00\x00\x00d\x00", "a\nb\x00c\n"} {
		k := ingesttest.NewRecorder()
		addr := ingesttest.Start(t, &ingesttest.TCP{Out: k})
		nc := ingesttest.Dial(t, addr)
		nc.SetNoDelay(true)
		for i := range len(text) {
			io.WriteString(nc, text[i:i+1])
		}
		want := text
		if !strings.Contains(text, "a\nb") { // the one whose first line ended with a []byte{'\n'}
			want = plain.EndedByNewlines(text)
		}
		k.WaitText(t, want)
	}
}

// TestPlainNUL: a message that ends with a NUL is kept at once, over TLS or not, however
// long it is; none waits for a []byte{'\n'} that never comes.
func TestPlainNUL(t *testing.T) {
	const maxLine = 8 << 10
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, MaxLine: maxLine}
	nc := ingesttest.Dial(t, ingesttest.Start(t, s))
	want := ""
	for i, n := range []int{1, 5 << 10, 7 << 10, 10, 20 << 10, 3} {
		message := fmt.Sprintf("<14>%d ", i) + strings.Repeat("x", n)
		io.WriteString(nc, message+"\x00")
		split, _ := lines.Split(nil, []byte(message+"\n"), maxLine)
		want += string(split)
		k.WaitText(t, want)
	}
	if got := int(s.Counts("tcp").Received); got != strings.Count(want, "\n") {
		t.Errorf("%d lines were counted, want %d", got, strings.Count(want, "\n"))
	}
}

func TestPlainMuch(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k})
	r := rand.New(rand.NewPCG(1, 2))
	var want bytes.Buffer
	for i := range 200_000 {
		fmt.Fprintf(&want, "%d %s\n", i, strings.Repeat("x", r.IntN(200)))
	}
	nc := ingesttest.Dial(t, addr)
	for text := want.Bytes(); len(text) > 0; {
		n := min(len(text), 1+r.IntN(300_000))
		if _, err := nc.Write(text[:n]); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	nc.Close()
	for _, b := range k.WaitText(t, want.String()) {
		if !bytes.HasSuffix(b.Text, []byte{'\n'}) || len(b.Text) > 256<<10 {
			t.Errorf("a batch of %d bytes", len(b.Text))
		}
	}
}

// endless reads as one line of n bytes.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.n)
	for i := range p[:n] {
		p[i] = 'a' + byte((e.n-i)%26)
	}
	e.n -= n
	return n, nil
}

func TestPlainEndlessLine(t *testing.T) {
	const size = 64 << 20
	k := ingesttest.NewRecorder()
	total, pieces, most := 0, 0, int64(0)
	s := &ingesttest.TCP{Out: k}
	done := make(chan struct{})
	k.Outcome = func(_ context.Context, b wire.Batch) error {
		most = max(most, s.Budget.Used())
		for line := range bytes.Lines(b.Text) {
			if len(line) > wire.MaxLine {
				t.Errorf("a piece of %d bytes", len(line))
			}
			if string(line) == "after\n" {
				close(done)
				break
			}
			pieces++
			total += len(line) - 1
			if pieces > 1 {
				total -= len(wire.SplitGoesOn)
			}
			if bytes.HasSuffix(line, []byte(wire.SplitMark+"\n")) {
				total -= len(wire.SplitMark)
			}
		}
		return ingesttest.ErrForget
	}
	addr := ingesttest.Start(t, s)
	nc := ingesttest.Dial(t, addr)
	if _, err := io.Copy(nc, &endless{size}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(nc, "\nafter\n")
	<-done
	if total != size || pieces < 64 || most > 8<<20 {
		t.Errorf("%d bytes in %d pieces with at most %d bytes of room, want %d bytes", total, pieces, most, size)
	}
}

func TestTLSOnPlainPort(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k})
	nc := ingesttest.Dial(t, addr)
	io.WriteString(nc, "\x16\x03\x01\x02\x00\x01\n")
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if answer, err := io.ReadAll(nc); err != nil || !strings.Contains(string(answer), "not TLS: use tcp://") || k.Text() != "" {
		t.Errorf("read: %q, %v; kept %q", answer, err, k.Text())
	}
}
