package daemon

import (
	"runtime"
	"testing"
)

// TestReturnMemory: memory is returned when a burst is over, until that makes stacks no smaller,
// and not again before much was allocated.
func TestReturnMemory(t *testing.T) {
	const mib = 1 << 20
	var r returning
	for i, x := range []struct {
		use, after memoryUse
		due        bool
	}{
		{use: memoryUse{allocated: mib / 2, live: mib}},                        // a start
		{use: memoryUse{allocated: 30 * mib, live: 10 * mib, stacks: 8 * mib}}, // busy
		{use: memoryUse{allocated: 60 * mib, live: 10 * mib, stacks: 8 * mib}}, // busy
		{use: memoryUse{allocated: 60*mib + 1, live: 10 * mib, stacks: 8 * mib}, // quiet
			after: memoryUse{allocated: 60*mib + 1, live: 5 * mib, stacks: 4 * mib}, due: true},
		{use: memoryUse{allocated: 60*mib + 2, live: 5 * mib, stacks: 4 * mib}, // stacks became smaller
			after: memoryUse{allocated: 60*mib + 2, live: 5 * mib, stacks: 4 * mib}, due: true},
		{use: memoryUse{allocated: 60*mib + 3, live: 5 * mib, stacks: 4 * mib}},
		{use: memoryUse{allocated: 61 * mib, live: 5 * mib, stacks: 4 * mib}},
		{use: memoryUse{allocated: 62*mib - 1, live: 100 * mib, stacks: 4 * mib}},
		{use: memoryUse{allocated: 99 * mib, live: 100 * mib, stacks: 4 * mib}},
		{use: memoryUse{allocated: 99 * mib, live: 100 * mib, stacks: 4 * mib}}, // little, of so much
	} {
		if due := r.isDue(x.use); due != x.due {
			t.Errorf("look %d: due %v, want %v", i, due, x.due)
		}
		if x.due {
			r.done(x.after)
		}
	}
}

// TestMemoryLimit: the limit leaves room for garbage, however much is really used, unless the
// control group has no more.
func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for _, x := range []struct {
		live, stacks uint64
		most, want   int64
	}{
		{10, 2, 0, 64},
		{80, 80, 0, 216},
		{80, 80, 1000, 216},
		{80, 80, 200, 200},
		{10, 2, 50, 50},
	} {
		l := limiting{least: 64 * mib}
		if got := l.next(memoryUse{live: x.live * mib, stacks: x.stacks * mib}, x.most*mib); got != x.want*mib {
			t.Errorf("%+v: %d MiB", x, got/mib)
		}
	}
}

// TestMemoryLimitWhileCollecting: the limit grows while the garbage collector takes much of the time, up to
// half more than what is used, and shrinks again when it does not.
func TestMemoryLimitWhileCollecting(t *testing.T) {
	const mib = 1 << 20
	l, u := limiting{least: 64 * mib}, memoryUse{live: 150 * mib, stacks: 10 * mib}
	look := func(looks int, share float64) (limit int64) {
		for range looks {
			u.busy, u.collecting = u.busy+4, u.collecting+4*share
			limit = l.next(u, 0) / mib
		}
		return limit
	}
	for _, x := range []struct {
		looks int
		share float64
		want  int64
	}{
		{1, 0.10, 216}, // as it begins: a quarter of what is used, and 16 MiB
		{1, 0.20, 248}, // a quarter, and a fifth more
		{5, 0.50, 256}, // a half at most
		{5, 0.12, 256}, // enough
		{99, 0.05, 216},
	} {
		if got := look(x.looks, x.share); got != x.want {
			t.Errorf("%d looks with %.2f: %d MiB, want %d", x.looks, x.share, got, x.want)
		}
	}
	if got := l.next(u, 0) / mib; got != 216 {
		t.Errorf("without a run of the garbage collector: %d MiB", got)
	}
}

// TestReadUse: the figures are there under their names, and a run of the garbage collector counts.
func TestReadUse(t *testing.T) {
	before := readUse()
	for range 3 {
		runtime.GC()
	}
	after := readUse()
	if after.live == 0 || after.stacks == 0 || after.allocated == 0 {
		t.Errorf("%+v", after)
	}
	if after.collecting <= before.collecting || after.busy < before.busy || after.collecting > after.busy {
		t.Errorf("%+v, then %+v", before, after)
	}
}
