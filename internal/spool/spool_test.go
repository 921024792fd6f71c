package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// quick are the settings of a test: small segments, in a directory.
func quick(dir string) Settings {
	return Settings{Dir: dir, Agent: "web-1", Source: "app", SegmentBytes: 4 << 10, SyncEvery: time.Millisecond}
}

func open(t *testing.T, settings Settings) *Spool {
	t.Helper()
	s, err := Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(canceled()) })
	return s
}

// canceled ends at once what waits for it.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// collector is one in memory, with a log.
func collector() *appendertest.Memory {
	return &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
}

func (s *Spool) meet(m *appendertest.Memory) { s.Welcome(m.Welcome(""), wire.MaxText) }

func fill(t *testing.T, s *Spool, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.Append(t.Context(), fmt.Appendf(nil, "line %d\n", i), ""); err != nil {
			t.Fatal(err)
		}
	}
}

// drain closes the spool, and sends all of it, over a way out that keeps the order.
func drain(t *testing.T, s *Spool, m *appendertest.Memory) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.meet(m)
	if err := s.Run(t.Context(), appendertest.NewOrdered(m)); err != nil {
		t.Fatal(err)
	}
}

// text is everything that the collector has, in the order of its commits.
func text(m *appendertest.Memory) string {
	var b bytes.Buffer
	for _, x := range m.Kept() {
		b.Write(x.Text)
	}
	return b.String()
}

func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

// checkText fails with the first line that differs.
func checkText(t *testing.T, m *appendertest.Memory, want string) {
	t.Helper()
	got, wanted := strings.Split(text(m), "\n"), strings.Split(want, "\n")
	for i := range max(len(got), len(wanted)) {
		if i >= len(got) || i >= len(wanted) || got[i] != wanted[i] {
			t.Fatalf("line %d of %d differs, want %d lines: %.100q", i, len(got), len(wanted), got[min(i, len(got)-1)])
		}
	}
}

// checkClean: all streams ended, and no segment is left.
func checkClean(t *testing.T, s *Spool, m *appendertest.Memory) {
	t.Helper()
	for _, id := range m.Streams() {
		if st, known := m.State(id); known {
			t.Errorf("a stream did not end: %+v", st)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "*"+suffix)); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestSend: lines come in order over many segments, each with its labels, and nothing is
// left.
func TestSend(t *testing.T) {
	m := collector()
	s := open(t, quick(t.TempDir()))
	before := time.Now().Add(-time.Millisecond)
	fill(t, s, 0, 3000)
	if err := s.Append(t.Context(), []byte("by another\n"), "other[7]"); err != nil {
		t.Fatal(err)
	}
	drain(t, s, m)
	checkText(t, m, numbered(0, 3000)+"by another\n")
	checkClean(t, s, m)
	if n := len(m.Streams()); n < 5 {
		t.Errorf("%d segments", n)
	}
	var last string
	for _, b := range m.Kept() {
		b.Source = "app"
		for l := range b.Runs() {
			if l.Time.Before(before) || l.Time.After(time.Now()) {
				t.Errorf("a line arrived at %v", l.Time)
			}
			last = l.Source
		}
	}
	if last != "other[7]" {
		t.Errorf("the last source is %q", last)
	}
	if c := s.Counts(); c["spool_lines"] != 3001 || c["spool_acknowledged_lines"] != 3001 {
		t.Errorf("counts are %v", c)
	}
}

// TestSendWhileAppending: a line is sent soon after it was appended, while the spool is open.
func TestSendWhileAppending(t *testing.T) {
	m := collector()
	s := open(t, quick(t.TempDir()))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, m) }() // ends by stop
	s.meet(m)
	for i := range 300 {
		fill(t, s, i, i+1)
		if i%50 == 0 {
			if err := m.Until(t.Context(), func() bool { return strings.HasSuffix(text(m), fmt.Sprintf("line %d\n", i)) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.Until(t.Context(), func() bool { return text(m) == numbered(0, 300) }); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestInput: lines of a reader come as they are, long ones in parts, in bounded memory.
func TestInput(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"\n", "\n"},
		{"a\nb", "a\nb\n"},
		{"a\r\n\nb\n", "a\r\n\nb\n"},
		{strings.Repeat("x", 999), strings.Repeat("x", 999) + "\n"},
		{numbered(0, 100_000), numbered(0, 100_000)},
		{"a\n" + strings.Repeat("\u8a9e", 100_000) + "\nb\n", "a\n" + strings.Repeat("\u8a9e", 100_000) + "\nb\n"},
		{strings.Repeat("x", 200_000), strings.Repeat("x", 200_000) + "\n"},
	} {
		m := collector()
		settings := quick(t.TempDir())
		settings.MaxLine, settings.SegmentBytes = 1000, 1<<20
		s := open(t, settings)
		in := s.NewInput("")
		if err := in.Read(t.Context(), strings.NewReader(c.in)); err != nil || in.Bytes() != int64(len(c.in)) {
			t.Fatal(in.Bytes(), err)
		}
		drain(t, s, m)
		for line := range strings.Lines(text(m)) {
			if len(line) > 1000 || strings.ToValidUTF8(line, "?") != line {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
		if got := strings.ReplaceAll(text(m), wire.SplitMark+"\n"+wire.SplitGoesOn, ""); got != c.want {
			t.Errorf("%.50q (%d bytes) became %.80q (%d bytes)", c.in, len(c.in), got, len(got))
		}
	}
}

// TestRecord: a message of several lines stays one, between lines that are as they were.
func TestRecord(t *testing.T) {
	m := collector()
	s := open(t, quick(t.TempDir()))
	line, message := "a line with \xc0\x8a\n", "one\ntwo \xc0"
	for range 2 {
		if err := errors.Join(s.Append(t.Context(), []byte(line), "a"), s.AppendRecord(t.Context(), []byte(message), "b"),
			s.AppendRecord(t.Context(), []byte("three"), "b")); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s, m)
	var got []string
	for _, b := range m.Kept() {
		for l, text := range b.Runs() {
			if b.Joined {
				text = wire.AppendRecordText(nil, text)
			}
			got = append(got, l.Source+" "+string(text))
		}
	}
	want := []string{"a " + line, "b " + message + "\n", "b three\n"}
	if want = append(want, want...); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestReopen: what a process left is sent by the next one, before its own lines.
func TestReopen(t *testing.T) {
	m := collector()
	dir := t.TempDir()
	for i := range 5 {
		s := open(t, quick(dir))
		fill(t, s, 100*i, 100*i+100)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, open(t, quick(dir)), m)
	checkText(t, m, numbered(0, 500))
}

// TestOtherOwner: the spool of another agent is refused, and not touched.
func TestOtherOwner(t *testing.T) {
	dir := t.TempDir()
	s := open(t, quick(dir))
	fill(t, s, 0, 10)
	s.Close(t.Context())
	before, _ := os.ReadFile(filepath.Join(dir, name(1)))
	other := quick(dir)
	other.Agent = "web-2"
	_, err := Open(other)
	var owner *OwnerError
	if !errors.As(err, &owner) || !strings.Contains(err.Error(), `"web-1"`) || !strings.Contains(err.Error(), "--id web-1") {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, name(1))); !bytes.Equal(before, after) || len(after) == 0 {
		t.Error("the segment changed")
	}
	m := collector()
	drain(t, open(t, quick(dir)), m)
	checkText(t, m, numbered(0, 10))
	drain(t, open(t, other), m) // empty, so it may have it
}
