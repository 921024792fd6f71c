package relay

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"fanin/internal/wire"
	"fanin/sink"
)

// A batch that ends before a line that is too long keeps that its records have several lines.
func TestJoinedBeforeTooLong(t *testing.T) {
	n := open(t, t.TempDir(), "json", sink.RetentionPolicy{}).start()
	b := wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: 1795366800000000}
	b.Joined, b.Text = true, append(wire.AppendRecord(nil, []byte("first\nsecond")), '\n')
	if err := n.sink.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	text := n.text() + "another process wrote " + strings.Repeat("x", maxBody) + "\n"
	in := newReader(n.sink.Reader(sink.Position{}), labeler{format: "json", host: "here"}, wire.MaxText, nil)
	in.chunk, in.begin = []byte(text), n.sink.End()
	got := new(batch)
	if err := in.next(context.Background(), got); err != nil {
		t.Fatal(err)
	}
	if !got.Joined || got.lines != 1 || !bytes.Equal(append(wire.AppendRecordText(nil, bytes.TrimSuffix(got.Text, []byte("\n"))), '!'), []byte("first\nsecond!")) {
		t.Errorf("joined=%t, %d lines: %q", got.Joined, got.lines, got.Text)
	}
}
