package spool

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

var errCut = errors.New("the connection was cut")

// half sends about half of some lines of one segment, and returns the directory, in which the
// rest is left.
func half(t *testing.T, m *appendertest.Memory, lines int) string {
	t.Helper()
	settings := quick(t.TempDir())
	settings.SegmentBytes = 1 << 20
	settings.BatchBytes = 2 << 10
	s := open(t, settings)
	fill(t, s, 0, lines)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.meet(m)
	ctx, stop := context.WithCancel(t.Context())
	m.Before = func(ctx context.Context, b wire.Batch) error {
		if b.Offset > int64(lines*15) {
			stop()
		}
		return ctx.Err()
	}
	if err := s.Run(ctx, m); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	m.Before = nil
	if n := strings.Count(text(m), "\n"); n == 0 || n == lines {
		t.Fatalf("%d of %d lines were sent", n, lines)
	}
	return settings.Dir
}

// TestResume: whatever one side forgot, the lines come once. Only when both forgot it is
// unknown what the log has.
func TestResume(t *testing.T) {
	const lines = 1000
	for name, c := range map[string]struct {
		place, streams, incarnation bool // what is kept
	}{
		"nothing was lost":                        {true, true, true},
		"the place was lost":                      {false, true, true},
		"the collector's state was lost":          {true, false, false},
		"the collector forgot the stream":         {true, false, true},
		"the place, and the log began a new life": {false, true, false},
		"only the incarnation is another":         {true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := collector()
			dir := half(t, m, lines)
			if !c.place {
				os.Remove(filepath.Join(dir, placeName))
			}
			if !c.streams {
				m.Forget()
			}
			if !c.incarnation {
				m.Incarnation = wire.NewStreamID()
			}
			drain(t, open(t, quick(dir)), m)
			checkText(t, m, numbered(0, lines))
		})
	}
}

// TestLogLostItsEnd: a log that lost its last lines with its state, as sync = "none" may, is
// not sent them again: it may have them.
func TestLogLostItsEnd(t *testing.T) {
	m := collector()
	dir := half(t, m, 1000)
	other := collector() // knows the start of the stream only
	first := m.Kept()[:3]
	for _, b := range first {
		if err := other.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, quick(dir))
	drain(t, s, other)
	n, reasons := skipped(other)
	if uint64(n) != s.Counts()["spool_skipped_bytes"] || len(reasons) != 1 || reasons[0] != "kept in an earlier life of the log" {
		t.Errorf("skipped %d bytes: %q", n, reasons)
	}
	rest := strings.TrimPrefix(text(other), string(first[1].Text)+string(first[2].Text))
	if text(m)+rest != numbered(0, 1000) {
		t.Error("the rest does not continue what was sent")
	}
}

// TestStreamOfRemovedSegment: a process that was killed between removing a segment and ending
// its stream leaves the stream to the next one.
func TestStreamOfRemovedSegment(t *testing.T) {
	m := collector()
	settings := quick(t.TempDir())
	s := open(t, settings)
	fill(t, s, 0, 10)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.meet(m)
	ctx, stop := context.WithCancel(t.Context())
	m.Before = func(_ context.Context, b wire.Batch) error {
		if b.Op == wire.OpEnd {
			stop()
			return errCut
		}
		return nil
	}
	s.Run(ctx, m)
	m.Before = nil
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "*"+suffix)); len(left) > 0 {
		t.Fatalf("left are %v", left)
	}
	s = open(t, settings)
	drain(t, s, m)
	checkText(t, m, numbered(0, 10))
	checkClean(t, s, m)
}

// TestAnswersLost: batches that did not arrive, and answers that did not, change nothing; nor
// do sessions in which a batch may have little text.
func TestAnswersLost(t *testing.T) {
	long := strings.Repeat("\u8a9e", 20_000) + "\n" + strings.Repeat("y", 9000) + "\n"
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := collector()
		settings := quick(t.TempDir())
		settings.BatchBytes = 3 << 10
		s := open(t, settings)
		fill(t, s, 0, 2000)
		if err := s.Append(t.Context(), []byte(long), "other"); err != nil {
			t.Fatal(err)
		}
		fill(t, s, 2000, 2100)
		fails := 0
		fail := func(error) error {
			if rnd.IntN(10) > 0 || fails > 10 {
				return nil
			}
			fails++
			w := m.Welcome("")
			s.Welcome(w, 2<<10+rnd.IntN(8<<10)) // the connection came back
			return &wire.Expected{Known: false}
		}
		m.Before = func(_ context.Context, b wire.Batch) error { return fail(nil) }
		m.After = func(_ context.Context, b wire.Batch, err error) error {
			if err != nil {
				return err
			}
			return fail(nil)
		}
		drain(t, s, m)
		joined := strings.ReplaceAll(text(m), wire.SplitMark+"\n"+wire.SplitGoesOn, "")
		if joined != numbered(0, 2000)+long+numbered(2000, 2100) {
			t.Errorf("seed %d: the text differs", seed)
		}
		checkClean(t, s, m)
	}
}

// TestMachineSetBack: a machine that was set back while the agent ran has other lines at the
// places that the collector knows: nothing of them is lost.
func TestMachineSetBack(t *testing.T) {
	m := collector()
	settings := quick(t.TempDir())
	settings.SegmentBytes = 1 << 20
	s := open(t, settings)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, m) }() // ends with the spool
	s.meet(m)
	fill(t, s, 0, 10)
	if err := m.Until(t.Context(), func() bool { return text(m) == numbered(0, 10) }); err != nil {
		t.Fatal(err)
	}
	at, _ := m.State(m.Streams()[0])
	future := wire.Batch{Stream: at.Stream, Epoch: at.Epoch, Offset: at.Offset, End: at.Offset + 5000, Before: at.Tail, After: 7, Text: []byte("of another past\n")}
	if err := m.Append(t.Context(), future); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 10, 20)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Until(t.Context(), func() bool { return strings.HasSuffix(text(m), numbered(10, 20)) }); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if want := numbered(0, 10) + "of another past\n" + numbered(10, 20); text(m) != want {
		t.Errorf("the text is %q", text(m))
	}
}

// TestSegmentRemoved: a segment that another process removed is reported, and the rest comes.
func TestSegmentRemoved(t *testing.T) {
	m := collector()
	settings := quick(t.TempDir())
	s := open(t, settings)
	fill(t, s, 0, 1000)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, settings)
	if err := new(disk.Disk).Remove(filepath.Join(s.Dir, name(2))); err != nil {
		t.Fatal(err)
	}
	drain(t, s, m)
	got := text(m)
	if !strings.HasPrefix(got, numbered(0, 1)) || !strings.HasSuffix(got, numbered(999, 1000)) || len(got) == len(numbered(0, 1000)) {
		t.Errorf("the text has %d bytes", len(got))
	}
	if s.Counts()["spool_damaged_bytes"] == 0 {
		t.Error("nothing is counted")
	}
	checkClean(t, s, m)
}
