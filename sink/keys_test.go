package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanin/ingest/key"
	"fanin/internal/counters"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// keyRequest has n lines that name its key and their number.
func keyRequest(name string, n int) key.Request {
	b := wire.Batch{Input: "test", Host: "web", Source: "app", Time: time.Now().UnixMicro()}
	for i := range n {
		b.Text = fmt.Appendf(b.Text, "%s %d\n", name, i)
	}
	return key.Request{Kind: "test", Key: []byte(name), Sender: key.Sender{Address: "192.0.2.1"}, Batches: []wire.Batch{b}}
}

func keyLines(name string, from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("%s %d", name, i))
	}
	return lines
}

// appendKey appends r, which must have this outcome.
func appendKey(t *testing.T, s *Sink, r key.Request, want key.Outcome) {
	t.Helper()
	if got, err := (&key.Requests{Log: s}).Append(context.Background(), r); err != nil || got != want {
		t.Fatalf("%s: %+v, %v; want %+v", r.Key, got, err, want)
	}
}

var (
	written = key.Outcome{}
	again   = key.Outcome{Repeat: true}
	doubted = key.Outcome{MaybeDoubled: true}
)

// half commits the first lines of r, as a collector does that is killed then.
func half(t *testing.T, s *Sink, r key.Request, lines int) {
	t.Helper()
	r.Batches = append([]wire.Batch{}, r.Batches...)
	first := r.Batches[0]
	end := 0
	for range lines {
		end += strings.IndexByte(string(first.Text[end:]), '\n') + 1
	}
	rest := first
	first.Text, rest.Text = first.Text[:end], first.Text[end:]
	r.Batches = []wire.Batch{first, rest}
	stopped := errors.New("stopped")
	stop := appenderFunc(func(ctx context.Context, b wire.Batch) error {
		if b.Offset > 0 {
			return stopped
		}
		return s.Append(ctx, b)
	})
	if _, err := (&key.Requests{Log: stop}).Append(context.Background(), r); err != stopped {
		t.Fatal(err)
	}
}

type appenderFunc func(context.Context, wire.Batch) error

func (f appenderFunc) Append(ctx context.Context, b wire.Batch) error { return f(ctx, b) }

// reopen closes s as a kill does, but for the lock, and opens the log again.
func reopen(t *testing.T, s *Sink) *Sink {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return open(t, &Sink{Path: s.Path, Sync: s.Sync, Keys: s.Keys, env: environment{now: s.env.now}})
}

func verified(t *testing.T, s *Sink) Report {
	t.Helper()
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(context.Background(), s.Path, s.State)
	if err != nil || !r.OK() {
		t.Fatalf("verify: %v, %q", err, r.Problems)
	}
	return r
}

// keysTrimmed waits until there are as many keys as may be: too many go with the next frame.
func keysTrimmed(t *testing.T, s *Sink, want int) {
	t.Helper()
	waittest.UntilEqual(t, "keys", want, func() int { n, _ := s.keysNow(); return n })
}

func TestKeyTwice(t *testing.T) {
	s := open(t, &Sink{})
	commits := s.counts.commits.Load()
	appendKey(t, s, keyRequest("a", 3), written)
	if n := s.counts.commits.Load() - commits; n != 1 {
		t.Errorf("%d commits for a request; its key begins in the same frame", n)
	}
	appendKey(t, s, keyRequest("a", 3), again)
	s = reopen(t, s)
	appendKey(t, s, keyRequest("a", 3), again)
	expectLines(t, s, keyLines("a", 0, 3)...)
	if n := s.counts.of("test").Counts().Duplicate; n != 3 {
		t.Errorf("%d duplicate lines counted after the restart, want 3", n)
	}
	if n := s.counts.keys.duplicateContent.Load(); n != 0 {
		t.Errorf("%d counted as duplicate content, which is for keys that are a hash", n)
	}
	r := verified(t, s)
	if *r.Keys != (KeyReport{Requests: 1, Lines: 3}) || len(r.Streams) > 1 {
		t.Errorf("verify: %+v, streams %+v", r.Keys, r.Streams)
	}
	if st := s.Status(); st.Streams != 0 || len(welcomed(s, "").Streams) != 0 {
		t.Errorf("a request counts as a stream: %+v", st)
	}
}

func TestKeyInParallel(t *testing.T) {
	s := open(t, &Sink{})
	q := &key.Requests{Log: s}
	var all sync.WaitGroup
	var repeats atomic.Int32
	for range 10 {
		all.Go(func() {
			o, err := q.Append(context.Background(), keyRequest("a", 3))
			if err != nil {
				t.Error(err)
			}
			if o.Repeat {
				repeats.Add(1)
			}
		})
	}
	all.Wait()
	// Without Requests, too: the log alone decides.
	for range 10 {
		all.Go(func() {
			if _, err := (&key.Requests{Log: s}).Append(context.Background(), keyRequest("b", 2)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if repeats.Load() != 9 {
		t.Errorf("%d repeats of ten", repeats.Load())
	}
	expectLines(t, s, append(keyLines("a", 0, 3), keyLines("b", 0, 2)...)...)
}

// Half a request, and then a restart. The rest is added, wherever the request is
// divided the second time.
func TestKeyHalf(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		s := open(t, &Sink{Sync: mode})
		half(t, s, keyRequest("a", 10), 4)
		s = reopen(t, s)
		if _, err := (&key.Requests{Log: s}).Append(context.Background(), otherText(keyRequest("a", 10))); err != wire.ErrOtherContent {
			t.Fatal(err)
		}
		appendKey(t, s, keyRequest("a", 10), written)
		appendKey(t, s, keyRequest("a", 10), again)
		expectLines(t, s, keyLines("a", 0, 10)...)
		if r := verified(t, s); *r.Keys != (KeyReport{Requests: 1, Lines: 10}) {
			t.Errorf("verify: %+v", r.Keys)
		}
		n := s.counts.of("test").Counts()
		if n.Written != 6 || n.Duplicate != 4+10 || n.Rejected[counters.Content] != 10 {
			t.Errorf("%+v", n)
		}
	}
}

func otherText(r key.Request) key.Request {
	r.Batches = append([]wire.Batch{}, r.Batches...)
	r.Batches[0].Text = []byte(strings.ReplaceAll(string(r.Batches[0].Text), " ", "-"))
	return r
}

// A request that is larger than a frame is committed in several. Its content is
// compared as a whole.
func TestKeyLarge(t *testing.T) {
	s := open(t, &Sink{env: environment{walSize: 8 << 20}})
	const lines = 120_000
	commits := s.counts.commits.Load()
	appendKey(t, s, keyRequest("a", lines), written)
	if n := s.counts.commits.Load() - commits; n < 3 {
		t.Fatalf("%d commits: the request is too small for this test", n)
	}
	appendKey(t, s, keyRequest("a", lines), again)
	r := verified(t, s)
	if *r.Keys != (KeyReport{Requests: 1, Lines: lines}) {
		t.Errorf("verify: %+v", r.Keys)
	}
}

// Half a request is forgotten, and comes again: all of it is written, and counted.
func TestKeyHalfForgotten(t *testing.T) {
	s := open(t, &Sink{Keys: KeyLimits{Keys: 3}})
	half(t, s, keyRequest("a", 4), 2)
	for i := range 6 {
		appendKey(t, s, keyRequest(fmt.Sprint("w", i), 1), written)
	}
	keysTrimmed(t, s, 3)
	appendKey(t, s, keyRequest("w4", 1), again) // the oldest whole ones went, not the half one
	half(t, s, keyRequest("b", 4), 2)
	half(t, s, keyRequest("c", 4), 2)
	half(t, s, keyRequest("d", 4), 2) // now only half ones are left, and the oldest goes
	s = reopen(t, s)
	appendKey(t, s, keyRequest("a", 4), doubted)
	if n := s.counts.keys.maybeDoubled.Load(); n != 1 {
		t.Errorf("%d counted as maybe doubled", n)
	}
	want := append(keyLines("a", 0, 2), "w0 0", "w1 0", "w2 0", "w3 0", "w4 0", "w5 0", "b 0", "b 1", "c 0", "c 1", "d 0", "d 1")
	expectLines(t, s, append(want, keyLines("a", 0, 4)...)...)
	verified(t, s)
}

// clock is one that tests set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time                  { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) step(d time.Duration)            { c.ahead.Add(int64(d)) }
func (c *clock) request(name string) key.Request { return c.made(name, time.Time{}) }

// made is a request of two lines whose key was made at a time.
func (c *clock) made(name string, at time.Time) key.Request {
	r := keyRequest(name, 2)
	r.Batches[0].Time, r.Made = c.now().UnixMicro(), at
	return r
}

// lookThrough has the log look for old keys now.
func lookThrough(t *testing.T, s *Sink) {
	t.Helper()
	err := s.do(context.Background(), func(w *writer) error {
		w.keyClock.expired = time.Time{}
		return w.expireKeys()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeyOlderThanTheWindow(t *testing.T) {
	c := new(clock)
	s := open(t, &Sink{env: environment{now: c.now}, Keys: KeyLimits{Window: 3 * time.Hour}})
	born := c.now()
	appendKey(t, s, c.made("a", born), written)
	half(t, s, c.made("h", born), 1)
	c.step(2 * time.Hour)
	appendKey(t, s, c.request("b"), written)
	lookThrough(t, s)
	appendKey(t, s, c.made("a", born), again)
	c.step(2 * time.Hour)
	lookThrough(t, s)
	if n, age := s.keysNow(); n != 1 || age < 3*time.Hour || age > 4*time.Hour+time.Minute {
		t.Errorf("%d keys, the window reaches back %v", n, age)
	}
	if n := s.counts.keys.old.Load(); n != 2 {
		t.Errorf("%d keys forgotten for their age", n)
	}
	s = reopen(t, s)
	appendKey(t, s, c.made("a", born), doubted)
	appendKey(t, s, c.made("h", born), doubted)
	appendKey(t, s, c.made("new", c.now()), written)
	appendKey(t, s, c.request("b"), again)
	unknown := c.made("of a sender that nothing is known of", born.Add(30*time.Minute))
	unknown.Sender.Login = "another"
	appendKey(t, s, unknown, doubted)
	unknown = c.made("younger than the window", c.now().Add(-2*time.Hour))
	unknown.Sender.Login = "another"
	appendKey(t, s, unknown, written)
	verified(t, s)
}

// Keys that never age are known from the log's first start on.
func TestKeyWithoutWindow(t *testing.T) {
	c := new(clock)
	s := open(t, &Sink{env: environment{now: c.now}, Keys: KeyLimits{Window: -1}})
	born := c.now()
	appendKey(t, s, c.made("a", born), written)
	for range 100 { // no step is so large that the clock is not believed
		c.step(20 * time.Hour)
		lookThrough(t, s)
	}
	appendKey(t, s, c.made("a", born), again)
	appendKey(t, s, c.made("b", born), written)
	if n, age := s.keysNow(); n != 2 || age < 2000*time.Hour {
		t.Errorf("%d keys, the window reaches back %v", n, age)
	}
}

// The clock steps by ten years and back. Nothing is forgotten for that, and what
// was committed meanwhile is forgotten once the clock is believed.
func TestKeyClockStep(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	c := new(clock)
	s := open(t, &Sink{env: environment{now: c.now}, Keys: KeyLimits{Window: time.Hour}})
	appendKey(t, s, c.request("a"), written)
	hashed := c.request("h")
	hashed.Hashed = true
	appendKey(t, s, hashed, written)
	c.step(years)
	appendKey(t, s, hashed, again)
	lookThrough(t, s)
	appendKey(t, s, c.request("future"), written)
	s = reopen(t, s) // the start after it does not believe the clock either
	lookThrough(t, s)
	appendKey(t, s, c.request("a"), again)
	appendKey(t, s, hashed, again)
	c.step(-years)
	lookThrough(t, s)
	for _, name := range []string{"a", "future"} {
		appendKey(t, s, c.request(name), again)
	}
	if err := s.do(context.Background(), func(w *writer) error {
		w.keyClock.began = w.keyClock.began.Add(-2 * clockJump) // it has run for two days since
		w.keyClock.guard.up += 2 * clockJump
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	lookThrough(t, s)
	appendKey(t, s, c.request("a"), again)
	c.step(2 * time.Hour)
	lookThrough(t, s)
	for _, name := range []string{"a", "future"} {
		appendKey(t, s, c.request(name), written)
	}
}

// Equal content is a repeat for ten minutes, and of one sender.
func TestKeyOfContent(t *testing.T) {
	c := new(clock)
	s := open(t, &Sink{env: environment{now: c.now}})
	r := c.request("a")
	r.Hashed = true
	appendKey(t, s, r, written)
	appendKey(t, s, r, again)
	if n := s.counts.keys.duplicateContent.Load(); n != 1 {
		t.Errorf("%d counted as duplicate content", n)
	}
	other := r
	other.Sender.Login = "another"
	appendKey(t, s, other, written)
	parts := c.request("b")
	parts.Hashed, parts.Batches = true, append(parts.Batches, c.request("c").Batches...)
	appendKey(t, s, parts, written)
	appendKey(t, s, parts, again)
	if n := s.counts.keys.duplicateContent.Load(); n != 2 {
		t.Errorf("%d requests counted as duplicate content; one had two batches", n)
	}
	partial := c.request("p")
	partial.Hashed = true
	half(t, s, partial, 1)
	c.step(9 * time.Minute)
	appendKey(t, s, r, again)
	c.step(2 * time.Minute)
	r.Batches = c.request("a").Batches
	appendKey(t, s, r, written)
	appendKey(t, s, r, again)
	for range 5 { // half of a request is known for longer
		c.step(20 * time.Hour)
		s.do(context.Background(), func(w *writer) error { w.keyClock.read(); return nil })
	}
	appendKey(t, s, partial, doubted)
	verified(t, s)
}

// What is forgotten in the frame that is being made is not gone on with in it.
func TestKeyForgottenInTheSameFrame(t *testing.T) {
	s := open(t, &Sink{})
	half(t, s, keyRequest("a", 4), 2)
	b := keyRequest("a", 4).Batches[0]
	b.Text = b.Text[len("a 0\na 1\n"):]
	b.Kind, b.Stream, b.Key = wire.StreamKey, wire.KeyID("test", []byte("a")), &wire.Key{Content: 1}
	b.Offset, b.End, b.Before, b.After = 2, 4, 2, 1
	r := &request{batch: &b, outcome: make(chan error, 1)}
	err := s.do(context.Background(), func(w *writer) error {
		w.forgetKey(w.catalog.keys.find(b.Stream.Owned(wire.StreamKey, "")))
		if err := w.accept(r); err != nil {
			return err
		}
		return w.commit()
	})
	if err != nil {
		t.Fatal(err)
	}
	var e *wire.Expected
	if err := <-r.outcome; !errors.As(err, &e) || e.Known {
		t.Fatal(err)
	}
	expectLines(t, s, keyLines("a", 0, 2)...)
}

// A sender that floods the table displaces only its own keys.
func TestKeyFlood(t *testing.T) {
	c := new(clock)
	s := open(t, &Sink{env: environment{now: c.now}, Keys: KeyLimits{Keys: 40}})
	for i := range 10 {
		r := keyRequest(fmt.Sprint("quiet ", i), 1)
		r.Sender.Login = "quiet"
		appendKey(t, s, r, written)
	}
	c.step(2 * time.Hour)
	if _, age := s.keysNow(); age < 2*time.Hour {
		t.Errorf("nothing was forgotten, and the window reaches back %v", age)
	}
	born := c.now()
	for i := range 500 {
		r := keyRequest(fmt.Sprint("flood ", i), 1)
		r.Batches[0].Time = c.now().UnixMicro()
		appendKey(t, s, r, written)
	}
	keysTrimmed(t, s, 40)
	if _, age := s.keysNow(); age > time.Minute {
		t.Errorf("the window reaches back %v", age)
	}
	if n := s.counts.keys.full.Load(); n != 470 {
		t.Errorf("%d keys forgotten for want of room", n)
	}
	s = reopen(t, s)
	for i := range 10 {
		r := keyRequest(fmt.Sprint("quiet ", i), 1)
		r.Sender.Login = "quiet"
		appendKey(t, s, r, again)
	}
	for i := 470; i < 500; i++ {
		appendKey(t, s, keyRequest(fmt.Sprint("flood ", i), 1), again)
	}
	old := keyRequest("flood 469", 1)
	old.Made = born
	appendKey(t, s, old, doubted)
	slow := keyRequest("not sent before", 1)
	slow.Sender.Login, slow.Made = "quiet", born
	appendKey(t, s, slow, written) // the flood says nothing of what this sender sent
	verified(t, s)
}

// After the state was lost, nothing is known of older requests.
func TestKeyNewIncarnation(t *testing.T) {
	s := open(t, &Sink{})
	before := time.Now().Add(-time.Second)
	r := keyRequest("a", 2)
	r.Made = before
	r.Batches[0].Extensions = []wire.Extension{set("a", "1")}
	appendKey(t, s, r, doubted) // made before the log's first start
	s = reopen(t, s)
	appendKey(t, s, r, again)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("a line of another program\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, &Sink{Path: s.Path})
	if n, _ := s.keysNow(); n != 0 || len(s.Extensions(testKind)) > 0 {
		t.Fatalf("%d keys, extensions %q", n, s.Extensions(testKind))
	}
	appendKey(t, s, r, doubted)
	s = reopen(t, s)
	appendKey(t, s, r, again)
	unborn := keyRequest("b", 2)
	unborn.Made = before
	appendKey(t, s, unborn, doubted)
	s = open(t, &Sink{Path: filepath.Join(t.TempDir(), "all.log")})
	r.Made = time.Time{}
	appendKey(t, s, r, written)
}
