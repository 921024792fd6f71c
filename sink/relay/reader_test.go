package relay

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"fanin/internal/waittest"
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
	waittest.Until(t, "the line to be in the file", func() bool { return n.text() != "" })
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

// Another process's line is what it is, also in a log in format json, and a line is as long as an upstream
// takes it, with what the layout drops.
func TestTexts(t *testing.T) {
	l := labeler{format: "json", host: "here"}
	shown, _ := l.body([]byte(`C:\new\table \u0041`))
	if got := string(l.text(shown)); got != `C:\new\table \u0041` {
		t.Errorf("another process's line became %q", got)
	}
	l = labeler{format: "json"}
	for _, row := range []struct {
		n    int
		fits bool
	}{{maxBody - 2, true}, {maxBody - 1, false}} {
		if got := l.text([]byte(strings.Repeat("x", row.n) + `\u000D`)); (got != nil) != row.fits || len(got) > maxBody {
			t.Errorf("%d bytes and CR: a text of %d bytes, at most %d", row.n, len(got), maxBody)
		}
	}
}

// While lines wait because of an error, the status says which.
func TestFailedShows(t *testing.T) {
	keep := sink.RetentionPolicy{}
	edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
	edge.number(0, 10)
	l := &link{cut: true}
	edge.connect(up, l)
	waittest.UntilEqual(t, "the error to be shown", errLink.Error(), edge.down.Waits)
	l.mu.Lock()
	l.cut = false
	l.mu.Unlock()
	edge.has(up, 0, 10)
	waittest.UntilEqual(t, "nothing to be shown", "", edge.down.Waits)
}

// A place that was gone, and can be read again, is decided anew: what is before it is not known.
func TestPlaceIsBack(t *testing.T) {
	n := open(t, t.TempDir(), "syslog", sink.RetentionPolicy{}).start()
	n.number(0, 10)
	waittest.Until(t, "the file", func() bool { return len(n.numbered()) == 10 })
	at := sink.Position{Generation: 1, Offset: int64(len(n.text()) / 2)}
	r := newReader(n.sink.Reader(at), labeler{format: "syslog"}, wire.MaxText, nil)
	defer r.log.Close()
	if err := r.next(t.Context(), new(batch)); !errors.Is(err, errBack) {
		t.Errorf("reading at %s: %v", at, err)
	}
}
