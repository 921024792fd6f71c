package ingest

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

func TestBudgetInOrder(t *testing.T) {
	r := &Budget{Limit: 64 << 10}
	a := r.TryAcquire(32 << 10)
	if a == nil || r.TryAcquire(64<<10) != nil {
		t.Fatal("the limit does not hold")
	}
	large := make(chan []byte)
	go func() { b, _ := r.Acquire(t.Context(), 64<<10); large <- b }()
	waittest.Until(t, "the large one to wait", func() bool { return r.waiters() > 0 })
	if r.TryAcquire(1) != nil {
		t.Error("a small one went past a large one that waits")
	}
	r.Release(a)
	b := <-large
	if len(b) != 64<<10 || r.Used() != 64<<10 {
		t.Errorf("got %d bytes, %d used", len(b), r.Used())
	}
	r.Release(b[:5])
	if r.Used() != 0 {
		t.Errorf("%d used at the end", r.Used())
	}
}

func (m *Budget) waiters() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, queue := range m.waiting {
		n += len(queue)
	}
	return n
}

func TestBudgetTimeout(t *testing.T) {
	r := &Budget{Limit: 4 << 10}
	a := r.TryAcquire(1)
	why := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, why)
	defer cancel()
	if _, err := r.Acquire(ctx, 1); err != why {
		t.Errorf("got %v", err)
	}
	r.Release(a)
	if r.Used() != 0 || r.waiters() != 0 {
		t.Errorf("%d used, %d waiting", r.Used(), r.waiters())
	}
}

// Holders of one block that need a second do not wait for each other for ever.
func TestBudgetExtend(t *testing.T) {
	r := &Budget{Limit: 8 << 20}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				packed, err := r.Acquire(t.Context(), wire.MaxText)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := r.Extend(t.Context(), wire.MaxText)
				if err != nil {
					t.Error(err)
					return
				}
				r.Release(packed)
				if used := r.Used(); used > 12<<20 {
					t.Errorf("%d used", used)
				}
				r.Release(text)
			}
		})
	}
	all.Wait()
	if r.Used() != 0 {
		t.Errorf("%d used at the end", r.Used())
	}
}

// Blocks are used again, however many there were at a time, and idle ones make room for others.
func TestBudgetIdle(t *testing.T) {
	r := &Budget{Limit: 8 << 20}
	all := make([][]byte, 2048)
	many := func() {
		for i := range all {
			all[i] = r.TryAcquire(4 << 10)
		}
		for _, b := range all {
			r.Release(b)
		}
	}
	many()
	if n := testing.AllocsPerRun(5, many); n > 0 {
		t.Errorf("blocks that were released are made again: %v allocations", n)
	}
	large := r.TryAcquire(4 << 20)
	if r.Used() != 4<<20 || r.used+r.idling != r.Limit {
		t.Errorf("%d used, %d idle", r.used, r.idling)
	}
	r.Release(large)
	if r.used+r.idling > r.Limit {
		t.Errorf("%d used, %d idle", r.used, r.idling)
	}
}

func TestBlockSize(t *testing.T) {
	for n, want := range map[int]int64{0: 4096, 1: 4096, 4096: 4096, 4097: 8192, 1 << 20: 1 << 20, wire.MaxText: wire.MaxText} {
		if got := BlockSize(n); got != want {
			t.Errorf("BlockSize(%d) = %d, want %d", n, got, want)
		}
	}
	for n, want := range map[int]int64{0: 1024, 1: 1024, 1024: 1024, 1025: 2048, wire.MaxText: wire.MaxText} {
		if got := TextSize(n); got != want {
			t.Errorf("TextSize(%d) = %d, want %d", n, got, want)
		}
	}
}

// Holders that extend again and again, more than there is memory for, do not keep others waiting.
func TestExtendingLeavesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Budget{Limit: 8 << 20}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() { // ends with stop
				first, err := r.Acquire(ctx, 64<<10)
				for err == nil && ctx.Err() == nil {
					var second []byte
					if second, err = r.Extend(ctx, 256<<10); err == nil {
						time.Sleep(time.Millisecond) // it is written
						r.Release(second)
					}
				}
				r.Release(first)
			})
		}
		time.Sleep(100 * time.Millisecond)
		if r.waiters() == 0 {
			t.Fatal("no memory is short")
		}
		a := r.Arrive(netip.MustParseAddr("127.0.0.1"), new(FrameClock), func() {})
		for name, acquire := range map[string]func(context.Context) ([]byte, error){
			"a block": func(ctx context.Context) ([]byte, error) { return r.Acquire(ctx, 64<<10) },
			"a text": func(ctx context.Context) ([]byte, error) {
				defer a.Done(true)
				return a.Grow(ctx, nil, 4<<10, func(wait func() error) error { return wait() })
			},
		} {
			for range 10 {
				within, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				b, err := acquire(within)
				cancel()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				r.Release(b)
			}
		}
		stop()
		all.Wait()
		r.Leave(netip.MustParseAddr("127.0.0.1"), a)
		if r.Used() != 0 || r.waiters() != 0 {
			t.Errorf("%d used, %d waiting at the end", r.Used(), r.waiters())
		}
	})
}

// What is lent from the reserve is counted as other memory once there is enough of that.
func TestLoansEnd(t *testing.T) {
	r := &Budget{Limit: 8 << 20}
	var all [][]byte
	for range 2 {
		all = append(all, r.TryAcquire(4<<20))
	}
	for range 2 {
		b, err := r.Extend(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if r.Used() != 10<<20 || r.lent.bytes != 2<<20 {
		t.Errorf("%d used, %d of it lent", r.Used(), r.lent.bytes)
	}
	r.Release(all[0])
	if r.Used() != 6<<20 || r.lent.bytes != 0 {
		t.Errorf("%d used, %d of it lent", r.Used(), r.lent.bytes)
	}
	for _, b := range all[1:] {
		r.Release(b)
	}
	if r.Used() != 0 {
		t.Errorf("%d used at the end", r.Used())
	}
}
