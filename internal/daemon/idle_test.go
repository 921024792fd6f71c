package daemon

import "testing"

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
		u := memoryUse{live: x.live * mib, stacks: x.stacks * mib}
		if got := u.limit(64*mib, x.most*mib); got != x.want*mib {
			t.Errorf("%+v: %d MiB", x, got/mib)
		}
	}
}
