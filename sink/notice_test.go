package sink

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"fanin/internal/wire"
)

// A notice is one line of text, whatever names and errors it tells of, in the log
// and on stderr, in every format.
func TestNoticeEscapes(t *testing.T) {
	for _, text := range []string{"\x1b[2J", "a\nforged", "a\rb\tc\x7f", "\u009b31m", "\x9b31m", "\u2028\u2029", "\u202eb\u2069", "\xc0\x9b"} {
		var said bytes.Buffer
		s := &Sink{Log: slog.New(slog.NewTextHandler(&said, nil)), counts: newCounts(nil)}
		s.queue.notices.wake = make(chan struct{}, 1)
		s.Notice("LOST stream=%s reason=%v", text, errors.New(text))
		list := s.queue.notices.take()
		if len(list) != 1 {
			t.Fatalf("%d notices", len(list))
		}
		got := string(list[0].text)
		if harmful(strings.TrimSuffix(got, "\n")) >= 0 || strings.Count(got, "\n") != 1 || strings.Contains(got, "\t") || !strings.HasPrefix(got, "LOST stream=") {
			t.Errorf("%q makes the notice %q", text, got)
		}
		if line := said.String(); harmful(strings.TrimSuffix(line, "\n")) >= 0 {
			t.Errorf("%q makes the message %q", text, line)
		}
	}
}

// harmful is where the first character of a laid-out line is that layouts escape,
// or -1. It knows them by itself, and slowly.
func harmful(line string) int {
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case n == 1 && r == utf8.RuneError && line[i] < 0xa0, r < 0x20 && r != '\t', r >= 0x7f && r < 0xa0,
			r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return i
		}
		i += n
	}
	return -1
}

// TestSkipNotices: the log shows what a skip leaves out; one that leaves nothing out moves the
// watermark only.
func TestSkipNotices(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	if err := begins(s, "a", "192.0.2.1", 1); err != nil {
		t.Fatal(err)
	}
	for i, reason := range []string{wire.SkipContinued, "a hole"} {
		at := int64(100 * i)
		err := s.Append(context.Background(), wire.Batch{Op: wire.OpSkip, Stream: streamID(1), Epoch: 1, Agent: "a", Input: "agent",
			Offset: at, End: at + 100, Before: wire.Hash(at), After: wire.Hash(at + 100), Control: wire.Control{Reason: reason}})
		if err != nil {
			t.Fatal(err)
		}
		if posted := s.counts.notices.posted.Load(); posted != uint64(i) {
			t.Errorf("%q: %d notices, want %d", reason, posted, i)
		}
	}
}
