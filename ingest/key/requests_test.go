package key

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request has numbered lines in as many batches as sizes.
func request(key string, sizes ...int) Request {
	r := Request{Kind: "test", Key: []byte(key), Sender: Sender{Address: "192.0.2.1"}}
	n := 0
	for _, size := range sizes {
		b := wire.Batch{Time: 1, Input: "test", Host: "host", Source: "source"}
		for range size {
			b.Text = fmt.Appendf(b.Text, "line %d\n", n)
			n++
		}
		r.Batches = append(r.Batches, b)
	}
	return r
}

// holds compares all that the log has with lines from 0 on, as many times over.
func holds(t *testing.T, m *appendertest.Memory, lines, times int) {
	t.Helper()
	var want, got strings.Builder
	for range times {
		for i := range lines {
			fmt.Fprintf(&want, "line %d\n", i)
		}
	}
	for _, b := range m.Kept() {
		got.Write(b.Text)
	}
	if got.String() != want.String() {
		t.Fatalf("the log holds %d bytes, want %d: %.200q", got.Len(), want.Len(), got.String())
	}
}

func TestAppendOnce(t *testing.T) {
	m := new(appendertest.Memory)
	q := &Requests{Log: m}
	for i := range 3 {
		o, err := q.Append(t.Context(), request("a", 5, 5000, 1))
		if err != nil || o.Repeat != (i > 0) || o.MaybeDoubled {
			t.Fatalf("time %d: %+v, %v", i, o, err)
		}
	}
	holds(t, m, 5006, 1)
}

// A request of several batches fails behind each of its batches, or the log has it
// only up to a cut within one. The repeat adds what is missing.
func TestAppendInParts(t *testing.T) {
	for fail := range 3 {
		for _, part := range []int{0, 1, 3, 4096} {
			m := new(appendertest.Memory)
			q := &Requests{Log: m}
			n := 0
			m.Before = func(_ context.Context, b wire.Batch) error {
				if n++; n <= fail {
					return nil
				}
				return errors.New("the log stopped")
			}
			_, err := q.Append(t.Context(), request("a", 10, 5000, 7))
			if err == nil || errors.Is(err, wire.ErrRefused) {
				t.Fatal(err)
			}
			m.Before = nil
			if fail == 1 && part > 0 { // as a keeper does that was killed in the middle of the second batch
				list := request("a", 10, 5000, 7)
				all, _ := list.batches()
				sum := newSummer()
				sum.add(all[0].Text)
				end := 0
				for range part {
					end += strings.IndexByte(string(all[1].Text[end:]), '\n') + 1
				}
				b := all[1]
				b.Cuts, b.Text, b.End = nil, b.Text[:end], b.Offset+int64(part)
				sum.add(b.Text)
				b.After = sum.hash()
				if err := m.Append(t.Context(), b); err != nil {
					t.Fatal(err)
				}
			}
			o, err := q.Append(t.Context(), request("a", 10, 5000, 7))
			if err != nil || o.Repeat {
				t.Fatalf("after %d batches and %d lines: %+v, %v", fail, part, o, err)
			}
			holds(t, m, 5017, 1)
		}
	}
}

// The repeat is divided otherwise than the request was at first.
func TestAppendDividedOtherwise(t *testing.T) {
	for _, first := range []int{1, 3, 5000} {
		for _, sizes := range [][]int{{9000}, {1, 8999}, {3, 8997}, {5000, 4000}, {5001, 3999}, {4096, 4096, 808}, {4999, 1, 4000}} {
			m := new(appendertest.Memory)
			q := &Requests{Log: m}
			m.Before = func(_ context.Context, b wire.Batch) error {
				if b.Offset > 0 {
					return errors.New("the log stopped")
				}
				return nil
			}
			if _, err := q.Append(t.Context(), request("a", first, 9000-first)); err == nil {
				t.Fatal("the log did not stop")
			}
			m.Before = nil
			r := request("a", sizes...)
			r.Batches[0].Cuts = []wire.Cut{{Text: 3}} // of no meaning
			if o, err := q.Append(t.Context(), r); err != nil || o.Repeat {
				t.Fatalf("first %d, then %v: %+v, %v", first, sizes, o, err)
			}
			holds(t, m, 9000, 1)
			for _, b := range m.Kept() {
				if b.Check() != nil || len(b.Cuts) != (int(b.End-b.Offset)-1)/wire.MaxCutLines && first != 5000 {
					t.Errorf("first %d, then %v: a batch of %d records with %d cuts: %v", first, sizes, b.End-b.Offset, len(b.Cuts), b.Check())
				}
			}
		}
	}
}

// The log goes back, as it does without syncs: what it lost is sent again.
func TestAppendToALogThatWentBack(t *testing.T) {
	r := request("a", 3, 3, 3)
	list, _ := r.batches()
	var offsets []int64
	log := appenderFunc(func(_ context.Context, b wire.Batch) error {
		offsets = append(offsets, b.Offset)
		if len(offsets) == 3 {
			return &wire.Expected{Known: true, Watermark: wire.Watermark{Point: wire.Point{Offset: 3, Tail: list[0].After}}}
		}
		return nil
	})
	if _, err := (&Requests{Log: log}).Append(t.Context(), r); err != nil || fmt.Sprint(offsets) != "[0 3 6 0 3 6]" {
		t.Fatalf("batches at %v, %v", offsets, err)
	}
}

type appenderFunc func(context.Context, wire.Batch) error

func (f appenderFunc) Append(ctx context.Context, b wire.Batch) error { return f(ctx, b) }

// The log is somewhere that the request never was.
func TestAppendElsewhere(t *testing.T) {
	m := new(appendertest.Memory)
	r := request("a", 10)
	list, _ := r.batches()
	b := list[0]
	b.Text, b.End, b.After = []byte("line X\n"), 1, 7
	if err := m.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Requests{Log: m}).Append(t.Context(), r); err != wire.ErrOtherContent {
		t.Fatal(err)
	}
}

// The key is forgotten while its request is being sent. All of it is sent again.
func TestAppendForgotten(t *testing.T) {
	m := new(appendertest.Memory)
	n := 0
	m.Before = func(context.Context, wire.Batch) error {
		if n++; n == 2 {
			m.ForgetKeys()
		}
		return nil
	}
	if _, err := (&Requests{Log: m}).Append(t.Context(), request("a", 3, 3)); err != nil {
		t.Fatal(err)
	}
	kept := m.Kept()
	if len(kept) != 3 || string(kept[0].Text) != "line 0\nline 1\nline 2\n" || string(kept[1].Text) != string(kept[0].Text) {
		t.Fatalf("%+v", kept)
	}
	m.Before = func(context.Context, wire.Batch) error { m.ForgetKeys(); return nil }
	var e *wire.Expected
	if _, err := (&Requests{Log: m}).Append(t.Context(), request("b", 3, 3)); !errors.As(err, &e) {
		t.Fatalf("a log that forgets each key at once: %v", err)
	}
}

func TestOtherContent(t *testing.T) {
	m := new(appendertest.Memory)
	q := &Requests{Log: m}
	append := func(r Request, repeat bool, want error) {
		t.Helper()
		if o, err := q.Append(t.Context(), r); err != want || err == nil && o.Repeat != repeat {
			t.Fatalf("%+v, %v; want repeat %v, %v", o, err, repeat, want)
		}
	}
	append(request("a", 3), false, nil)
	append(request("a", 4), false, wire.ErrOtherContent)
	append(request("a", 3), true, nil)
	other := request("a", 3)
	other.Kind = "another kind"
	append(other, false, nil)

	per := request("b", 3)
	per.PerContent = true
	append(per, false, nil)
	per.Batches = request("b", 4).Batches
	append(per, false, nil)
	append(per, true, nil)
	per.Batches = request("b", 3).Batches
	append(per, true, nil)

	// A sender has a key of its own wherever it is; a hash of the content belongs to its sender.
	moved := request("a", 3)
	moved.Sender.Address = "192.0.2.2"
	append(moved, true, nil)
	for _, s := range []Sender{
		{Address: "192.0.2.1"}, {Address: "192.0.2.2"},
		{Login: "192.0.2.1", Address: "192.0.2.1"}, {Certificate: "192.0.2.1", Login: "x"},
	} {
		hashed := request("hash", 3)
		hashed.Hashed, hashed.Sender = true, s
		append(hashed, false, nil)
		append(hashed, true, nil)
	}
	append(request("hash", 3), false, nil) // a key that happens to be the same
	empty := request("c")
	if _, err := q.Append(t.Context(), empty); !errors.Is(err, wire.ErrRefused) {
		t.Fatalf("a request without lines: %v", err)
	}
}

// Ten at once: one is committed, and the others wait for its outcome.
func TestAppendInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(appendertest.Memory)
		q := &Requests{Log: m}
		release, atOnce := make(chan struct{}), 0
		m.Before = func(context.Context, wire.Batch) error {
			atOnce++
			defer func() { atOnce-- }()
			if atOnce > 1 {
				t.Error("two are in flight")
			}
			<-release
			return nil
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		repeats := 0
		for range 10 {
			all.Go(func() {
				o, err := q.Append(t.Context(), request("a", 3))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if o.Repeat {
					repeats++
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := q.Append(ctx, request("a", 3)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		all.Wait()
		if repeats != 9 || len(q.inFlight) != 0 {
			t.Errorf("%d repeats, %d in flight", repeats, len(q.inFlight))
		}
		holds(t, m, 3, 1)
	})
}
