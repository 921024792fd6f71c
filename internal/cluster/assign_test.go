package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the records say: every partition has an owner that lives, all have the same number or one
// more, what was moved by hand is there, and what is assigned so already stays.
func TestAssign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "partitions")
		members := make([]string, rapid.IntRange(1, 7).Draw(t, "members"))
		for i := range members {
			members[i] = fmt.Sprintf("m%d", i)
		}
		alive := members[:rapid.IntRange(1, len(members)).Draw(t, "alive")]
		some := func(what string, from []string) map[int]string {
			m := make(map[int]string)
			for p := range n {
				if rapid.Bool().Draw(t, what) {
					m[p] = rapid.SampledFrom(from).Draw(t, what)
				}
			}
			return m
		}
		owners := some("owners", append([]string{""}, members...))
		pins := make(map[int]string)
		if rapid.Bool().Draw(t, "moved") {
			pins = some("pins", members)
		}
		got := assign(n, alive, owners, pins)
		if again := assign(n, rapid.Permutation(alive).Draw(t, "order"), owners, pins); !slices.Equal(got, again) {
			t.Fatalf("another member computes %q, not %q", again, got)
		}
		count := make(map[string]int)
		for p, to := range got {
			if !slices.Contains(alive, to) {
				t.Fatalf("partition %d: %q does not live", p, to)
			}
			if pin := pins[p]; slices.Contains(alive, pin) && to != pin {
				t.Fatalf("partition %d was moved to %s, and is assigned to %s", p, pin, to)
			}
			count[to]++
		}
		if len(pins) > 0 {
			return
		}
		most := slices.Max(slices.Collect(maps.Values(count)))
		if least := n / len(alive); most > least+1 || len(count) < min(n, len(alive)) {
			t.Fatalf("not even: %v of %d", count, n)
		}
		settled := make(map[int]string)
		for p, to := range got {
			settled[p] = to
		}
		if next := assign(n, alive, settled, nil); !slices.Equal(got, next) {
			t.Fatalf("%q is settled, and becomes %q", got, next)
		}
	})
}

// When a member comes or goes, no more moves than must.
func TestAssignMovesLittle(t *testing.T) {
	owners := make(map[int]string)
	for p, to := range assign(16, []string{"a", "b"}, nil, nil) {
		owners[p] = to
	}
	moved := 0
	for p, to := range assign(16, []string{"a", "b", "c"}, owners, nil) {
		if to != owners[p] {
			moved++
		}
		if to != owners[p] && to != "c" {
			t.Errorf("partition %d moves from %s to %s", p, owners[p], to)
		}
	}
	if moved != 5 {
		t.Errorf("%d partitions move to the third member, want 5", moved)
	}
}
