package check

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanin/e2e/load"
)

// TestArrivals: what is missing, doubled, torn or out of order is seen, over a rotation, too.
func TestArrivals(t *testing.T) {
	f := func(name string, lines, rotated []int, want Result) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "all.log")
			write := func(seqs []int) {
				var b []byte
				for _, seq := range seqs {
					b = append(b, "2026-01-01T00:00:00.000000Z host crowd: "...)
					b = load.Append(b, 1, seq)
				}
				if err := os.WriteFile(path, b, 0o640); err != nil {
					t.Fatal(err)
				}
			}
			write(lines)
			a := WatchArrivals(path, 2, func(int, int) time.Time { return time.Now().Add(-time.Second) })
			if rotated != nil {
				for a.Lines() < len(lines) {
					time.Sleep(time.Millisecond)
				}
				if err := os.Rename(path, path+".1"); err != nil {
					t.Fatal(err)
				}
				write(rotated)
			}
			for a.Lines() < len(lines)+len(rotated) {
				time.Sleep(time.Millisecond)
			}
			d := a.TakeDelays()
			if d.N != len(lines)+len(rotated) || d.Least(0.5) < 900*time.Millisecond || d.Max < 900*time.Millisecond {
				t.Errorf("%d delays, half of them %v, at most %v", d.N, d.Least(0.5), d.Max)
			}
			got, err := a.End(map[int]int{0: 0, 1: 5})
			got.First = nil
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v, %v; want %v", &got, err, &want)
			}
		})
	}
	f("all", []int{0, 1, 2, 3, 4}, nil, Result{Lines: 5})
	f("rotated", []int{0, 1, 2}, []int{3, 4}, Result{Lines: 5})
	f("one missing", []int{0, 1, 3, 4}, nil, Result{Lines: 4, Lost: 1})
	f("end missing", []int{0, 1, 2}, nil, Result{Lines: 3, Lost: 2})
	f("doubled", []int{0, 1, 2, 3, 4}, []int{3, 4}, Result{Lines: 7, Doubled: 2})
	f("out of order", []int{0, 2, 1, 3, 4}, nil, Result{Lines: 5, Reordered: 1})
	f("more than were written", []int{0, 1, 2, 3, 4, 5}, nil, Result{Lines: 6, Phantom: 1})
}

// TestDelays: a class holds what is at most a sixteenth less than its ceiling.
func TestDelays(t *testing.T) {
	for n := uint64(1); n < 1<<50; n += n/7 + 1 {
		c := classOf(n)
		if top := uint64(ceiling(c)); top <= n || top > n+n/15+1 {
			t.Fatalf("%d is in class %d, which ends before %d", n, c, top)
		}
	}
	var d Delays
	for i := range 1000 {
		d.add(time.Duration(i) * time.Millisecond)
	}
	if p := d.Least(0.99); p < 990*time.Millisecond || p > 1060*time.Millisecond {
		t.Errorf("0.99 of 0 to 999 ms: %v", p)
	}
}
