//go:build !race

package instant

import "testing"

// TestNoMore: a kernel may say that a file has no more where a page is not in memory. It is believed only inside a
// page of which something was just read.
func TestNoMore(t *testing.T) {
	for _, x := range []struct {
		offset int64
		calls  []int // what each returns
		n      int
		ended  bool
	}{
		{0, []int{0}, 0, false},
		{100, []int{0}, 0, false},
		{0, []int{64, 0}, 64, true},
		{4032, []int{64, 0}, 64, false},
		{4032, []int{65, 0}, 65, true},
		{4032, []int{64, 1, 0}, 65, true},
		{0, []int{64, -1}, 64, false},
		{0, []int{60, 40}, 100, false},
	} {
		calls := x.calls
		n, ended := readUntil(100, x.offset, func(int) int {
			got := calls[0]
			calls = calls[1:]
			return got
		})
		if n != x.n || ended != x.ended {
			t.Errorf("%v at %d: %d, %v", x.calls, x.offset, n, ended)
		}
	}
}
