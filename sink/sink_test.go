package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// open opens s and closes it when the test ends.
func open(t *testing.T, s *Sink) *Sink {
	t.Helper()
	if s.Path == "" {
		s.Path = filepath.Join(t.TempDir(), "all.log")
	}
	if s.env.walSize == 0 {
		s.env.walSize = 8 << 20
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s.Host = "here"
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// welcomed is what an agent reads of its welcome.
func welcomed(s *Sink, agent string) wire.Welcome {
	w := s.Welcome(agent)
	for page := range w.Listing.Pages(512) {
		w.Streams = append(w.Streams, page...)
	}
	return w
}

// source is one stream as an agent sends it.
type source struct {
	at     time.Time // of its lines; zero: sentAt
	id     wire.StreamID
	epoch  uint32
	text   []byte // all of it so far
	opened bool
}

func newSource() *source { return &source{id: wire.NewStreamID(), epoch: 1} }

func (src *source) open(to wire.Appender) error {
	return to.Append(context.Background(), wire.Batch{Op: wire.OpOpen, Stream: src.id, Epoch: src.epoch,
		Agent: "a", Host: "web", Source: "app", Input: "agent"})
}

// sentAt is the time of all lines of a source that has none of its own.
var sentAt = time.Date(2026, 11, 22, 17, 0, 0, 123456000, time.UTC)

// batch is the next batch, of these lines.
func (src *source) batch(lines ...string) wire.Batch {
	text, at := []byte(strings.Join(lines, "\n")+"\n"), src.at
	if at.IsZero() {
		at = sentAt
	}
	b := wire.Batch{Stream: src.id, Epoch: src.epoch, Offset: int64(len(src.text)), Before: wire.TailHash(src.text),
		Time: at.UnixMicro(), Input: "agent", Agent: "a", Text: text}
	src.text = append(src.text, text...)
	b.End, b.After = int64(len(src.text)), wire.TailHash(src.text)
	return b
}

func (src *source) send(t *testing.T, to wire.Appender, lines ...string) {
	t.Helper()
	if !src.opened {
		if err := src.open(to); err != nil {
			t.Fatal(err)
		}
		src.opened = true
	}
	if err := to.Append(context.Background(), src.batch(lines...)); err != nil {
		t.Fatal(err)
	}
}

// text is the whole log, rotated files first.
func logText(t *testing.T, s *Sink) string {
	t.Helper()
	var all strings.Builder
	for _, g := range s.Status().Generations {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(s.Path), g.Name))
		if err == nil && g.State == stateGzip {
			b, err = unzipped(b)
		}
		if err != nil && g.State != stateLost {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

func unzipped(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// bodies are the lines of the log without their prefixes and without notices.
func bodies(t *testing.T, s *Sink) []string {
	t.Helper()
	var got []string
	for line := range strings.Lines(logText(t, s)) {
		if _, body, ok := strings.Cut(line, " web app: "); ok {
			got = append(got, strings.TrimSuffix(body, "\n"))
		}
	}
	return got
}

// expectLines waits for the lines: the text follows the answer.
func expectLines(t *testing.T, s *Sink, want ...string) {
	t.Helper()
	waittest.UntilEqual(t, "the lines of the log", strings.Join(want, "|"), func() string {
		return strings.Join(bodies(t, s), "|")
	})
}

// expectPublished waits until the writer has published all that the live file has.
func expectPublished(t *testing.T, s *Sink) {
	t.Helper()
	waittest.Until(t, "the file's size to be published", func() bool {
		info, err := os.Stat(s.Path)
		s.view.mu.Lock()
		defer s.view.mu.Unlock()
		return err == nil && info.Size() == s.view.size
	})
}

// blockedWriter notices when a sink's writer waits although it has batches to commit.
// Its alive is the sink's Alive.
type blockedWriter struct {
	sink  atomic.Pointer[Sink]
	waits atomic.Bool
}

func (b *blockedWriter) alive() {
	if s := b.sink.Load(); s != nil && s.queue.busy.since.Load() != 0 {
		b.waits.Store(true)
	}
}

func TestAppendReachesTheFile(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		s := open(t, &Sink{Sync: mode})
		src := newSource()
		src.send(t, s, "one", "two")
		src.send(t, s, "three\r")
		expectLines(t, s, "one", "two", "three")
		want := regexp.MustCompile(`^2026-11-22T17:00:00\.123456Z web app: one\n`)
		if got := logText(t, s); !want.MatchString(got) {
			t.Errorf("the log begins %q", got)
		}
	}
}

func TestRepeatAndWrongPlace(t *testing.T) {
	s := open(t, &Sink{})
	src := newSource()
	src.open(s)
	b := src.batch("one")
	for range 3 {
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	src.batch("never sent")
	err := s.Append(context.Background(), src.batch("three"))
	var e *wire.Expected
	if e, _ = err.(*wire.Expected); e == nil || !e.Known || e.Offset != b.End || e.Tail != b.After {
		t.Fatalf("got %v, want Expected at %d", err, b.End)
	}
	expectLines(t, s, "one")
	if got := s.counts.of("agent").Counts().Duplicate; got != 2 {
		t.Errorf("counted %d duplicate lines, want 2", got)
	}
}

func TestReopenContinues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	src := newSource()
	var want []string
	for round := range 5 {
		s := open(t, &Sink{Path: path})
		for i := range 10 {
			line := fmt.Sprintf("line %d of %d", i, round)
			src.send(t, s, line)
			want = append(want, line)
		}
		w := welcomed(s, "a")
		if len(w.Streams) != 1 || w.Streams[0].Offset != int64(len(src.text)) {
			t.Fatalf("welcome says %+v, want offset %d", w.Streams, len(src.text))
		}
		expectLines(t, s, want...)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRotateOnDemand(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	var want []string
	for i := range 50 {
		line := fmt.Sprint("line ", i)
		src.send(t, s, line)
		want = append(want, line)
		r, err := s.Rotate(context.Background())
		if err != nil || r.Name == "" {
			t.Fatalf("rotation %d: %+v, %v", i, r, err)
		}
	}
	expectLines(t, s, want...)
	if n := len(s.Status().Generations); n != 51 {
		t.Errorf("%d generations, want 51", n)
	}
}

// TestCuts: the pieces of a batch follow one another in the ledger as they do in
// their stream.
func TestCuts(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "zero")
	before := len(src.text)
	b := src.batch("one", "two", "three", "four")
	for at := before; ; {
		at += strings.IndexByte(string(src.text[at:]), '\n') + 1
		if at == len(src.text) {
			break
		}
		b.Cuts = append(b.Cuts, wire.Cut{Text: at - before, End: int64(at), After: wire.TailHash(src.text[:at])})
	}
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	expectLines(t, s, "zero", "one", "two", "three", "four")
	s.Close(context.Background())
	r, err := Verify(context.Background(), s.Path, "")
	if err != nil || !r.OK() || len(r.Streams) != 1 || r.Streams[0].Lines != 5 || r.Streams[0].Offset != int64(len(src.text)) {
		t.Errorf("verify: %+v, %v", r, err)
	}
}
