package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/ingest/key"
	"fanin/internal/disk/disktest"
	"fanin/internal/wire"
)

// requester sends numbered requests one after the other to a log on a disk that
// forgets. Each is sent until it is acknowledged, over all crashes; the last batch of
// each leaves its number in an extension, and takes the one before away.
type requester struct {
	*life
	next  int   // the first request that is not acknowledged
	began int64 // in microseconds since 1970
}

// request has up to three batches of up to three lines. Every second one has a key
// that is a hash.
func (q *requester) request(n int) key.Request {
	r := key.Request{Kind: "crash", Key: fmt.Append(nil, n), Hashed: n%2 == 0, Sender: key.Sender{Login: fmt.Sprint(n % 4)}}
	for i := range n%3 + 1 {
		b := wire.Batch{Input: "test", Host: "web", Source: "app", Time: q.began + int64(n)}
		for j := range (n+i)%3 + 1 {
			b.Text = fmt.Appendf(b.Text, "request %d line %d.%d %s\n", n, i, j, strings.Repeat("x", n*397%1500))
		}
		if i == n%3 {
			b.Extensions = []wire.Extension{set(fmt.Sprint(n), "done"), set(fmt.Sprint(n-1), "")}
		}
		r.Batches = append(r.Batches, b)
	}
	return r
}

// lines are those of all requests up to n.
func (q *requester) lines(n int) (lines []string) {
	for i := range n {
		for _, b := range q.request(i).Batches {
			lines = append(lines, strings.Split(strings.TrimSuffix(string(b.Text), "\n"), "\n")...)
		}
	}
	return lines
}

// work sends requests, and now and then one of the last again, until the disk stops.
func (q *requester) work(s *Sink, rounds int) {
	q.Helper()
	requests := &key.Requests{Log: s}
	for i := range rounds {
		outcome, err := requests.Append(context.Background(), q.request(q.next))
		if err != nil {
			if !q.disk.Stopped() {
				q.fail("request %d: %v", q.next, err)
			}
			return
		}
		if outcome.MaybeDoubled {
			q.fail("request %d counts as maybe doubled", q.next)
		}
		q.next++
		if back := q.next - 1 - i%2; i%3 == 2 && back >= 0 {
			outcome, err := requests.Append(context.Background(), q.request(back))
			if err != nil && !q.disk.Stopped() || err == nil && !outcome.Repeat {
				q.fail("request %d again: %+v, %v", back, outcome, err)
			}
		}
		if i%4 == 3 {
			if _, err := s.Rotate(context.Background()); err != nil && !q.disk.Stopped() {
				q.fail("rotate: %v", err)
			}
		}
	}
}

// meet looks what the log remembers: the last request that it has all of, which is
// the last that was acknowledged, or the next one.
func (q *requester) meet(s *Sink) {
	q.Helper()
	last := -1
	for name := range s.Extensions(testKind) {
		n, err := strconv.Atoi(name)
		if err != nil || last >= 0 {
			q.fail("the log remembers %v", s.Extensions(testKind))
		}
		last = n
	}
	if last != q.next-1 && last != q.next {
		q.fail("the log remembers request %d; %d were acknowledged", last, q.next)
	}
}

// hold closes the log and compares all of it.
func (q *requester) hold(s *Sink) {
	q.Helper()
	if err := s.Close(context.Background()); err != nil {
		q.fail("close: %v", err)
	}
	v, err := Verify(context.Background(), s.Path, s.State)
	if err != nil || !v.OK() || v.Keys.Partial != 0 {
		q.fail("verify: %v, %q, %+v", err, v.Problems, v.Keys)
	}
	got, want := bodies(q.T, s), q.lines(q.next)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		q.fail("the log holds\n%.2000q\nwant\n%.2000q", got, want)
	}
}

// TestKeysCrashAtEveryAccess stops the machine at each single access to the disk,
// while requests with a key come, are forgotten, and come again. Each is in the log
// once, and the extension that was set with its last lines says so.
func TestKeysCrashAtEveryAccess(t *testing.T) {
	disktest.EachAccess(t, 8, func(t *testing.T, n int64, seed uint64) (ended bool) {
		ended = keyCrash(t, syncCommit, true, n, seed)
		if seed%2 == 0 {
			mode := []string{syncCommit, syncNone}[seed/2%2]
			ended = keyCrash(t, mode, false, n, seed) && ended
		}
		return ended
	})
}

func keyCrash(t *testing.T, mode string, cut bool, n int64, seed uint64) (ended bool) {
	q := &requester{began: time.Now().UnixMicro(), life: newLife(t, fmt.Sprintf("sync=%s, power cut %v, access %d, seed %d", mode, cut, n, seed), mode, cut)}
	defer q.disk.Remove()
	q.keys, q.keepAll = KeyLimits{Keys: 5}, true
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	q.disk.StopAt(n, []int{0, 1, 4096}[rnd.IntN(3)])
	s, err := q.start()
	if err == nil {
		q.work(s, 12)
	}
	ended = !q.disk.Stopped()
	again := rnd.IntN(3)
	if again == 1 { // a kill; and then the power is cut before what was read back is durable
		q.cut = false
	}
	q.crash(s, seed)
	if q.cut = cut; again > 0 {
		q.disk.StopAt(n%47+1, 0)
		if s, err = q.start(); err == nil {
			q.meet(s)
			q.work(s, 1)
		}
		q.crash(s, seed+1)
	}
	if s, err = q.start(); err != nil {
		q.fail("%v", err)
	}
	q.meet(s)
	q.work(s, 6)
	q.hold(s)
	return ended
}

// TestKeysRedo: frames that are read again give the table that they gave when they were
// committed, whatever the limits are by then.
func TestKeysRedo(t *testing.T) {
	for seed := range uint64(8) {
		q := &requester{began: time.Now().UnixMicro(), life: newLife(t, fmt.Sprint("seed ", seed), syncCommit, false)}
		q.keys, q.keepAll = KeyLimits{Keys: 5}, true
		s, err := q.start()
		if err != nil {
			t.Fatal(err)
		}
		if q.work(s, int(seed)*3); seed%2 == 0 {
			if err := s.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		q.work(s, 5)
		keysTrimmed(t, s, 5)
		half(t, s, q.request((q.next+100)/3*3+1), 1)
		keysTrimmed(t, s, 5)
		q.disk.Stop()
		s.Close(context.Background())
		want := sortedDump(&s.view.catalog.keys)
		q.disk.Kill()
		q.keys = KeyLimits{Keys: 1000}
		if s, err = q.start(); err != nil {
			t.Fatal(err)
		}
		if got := sortedDump(&s.view.catalog.keys); got != want {
			t.Errorf("seed %d: read again: %s", seed, difference(got, want))
		}
		q.meet(s)
		s.Close(context.Background())
	}
}
