package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// sent is lines of two sources, each with a layout before it.
func sent(each int) (lines [][]byte) {
	for source := range 2 {
		b := newBlock(source)
		for left := each; left > 0; {
			text, n := b.take(left)
			for line := range bytes.Lines(text) {
				lines = append(lines, append([]byte("Z 127.0.0.1 tcp: "), line...))
			}
			left -= n
		}
	}
	return lines
}

func TestTally(t *testing.T) {
	const each = 3000 // more than a block
	swap := func(l [][]byte, i, j int) [][]byte { l[i], l[j] = l[j], l[i]; return l }
	for _, f := range []struct {
		name   string
		damage func([][]byte) [][]byte
		want   tally
	}{
		{"whole", func(l [][]byte) [][]byte { return l }, tally{Lines: 6000}},
		{"a notice", func(l [][]byte) [][]byte { return append([][]byte{[]byte("Z host fanin: begun\n")}, l...) }, tally{Lines: 6000}},
		{"lost", func(l [][]byte) [][]byte { return append(l[:10:10], l[12:]...) }, tally{Lines: 5998, Lost: 2}},
		{"doubled", func(l [][]byte) [][]byte { return append(l, l[7]) }, tally{Lines: 6001, Doubled: 1}},
		{"reordered", func(l [][]byte) [][]byte { return swap(l, 20, 21) }, tally{Lines: 6000, Reordered: 1}},
		{"sources mixed", func(l [][]byte) [][]byte { return swap(l, 2999, 3000) }, tally{Lines: 6000}},
		{"torn", func(l [][]byte) [][]byte { l[5] = append(l[5][:60:60], '\n'); return l }, tally{Lines: 5999, Lost: 1, Torn: 1}},
		{"glued", func(l [][]byte) [][]byte { l[5] = l[5][:len(l[5])-1]; return l }, tally{Lines: 5998, Lost: 2, Torn: 1}},
		{"changed", func(l [][]byte) [][]byte { l[5][40] = '#'; return l }, tally{Lines: 5999, Lost: 1, Torn: 1}},
	} {
		t.Run(f.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "all.log")
			if err := os.WriteFile(path, bytes.Join(f.damage(sent(each)), nil), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := tallyFile(path, 2, each)
			if err != nil || got != f.want {
				t.Errorf("%+v, %v; want %+v", got, err, f.want)
			}
		})
	}
}

func TestBlockSize(t *testing.T) {
	for _, n := range []int{1, 1000, 1400, 5000} {
		b, size := newBlock(0), 0
		for left := n; left > 0; {
			text, took := b.take(left)
			size, left = size+len(text), left-took
		}
		if got := newBlock(0).size(n); got != int64(size) {
			t.Errorf("%d lines have %d bytes, not %d", n, size, got)
		}
	}
}

func TestMedian(t *testing.T) {
	var rs results
	for _, seconds := range []float64{5, 1, 3} {
		rs.add("w", "s", sample{Seconds: seconds})
	}
	if got := rs.find("w", "s").median(func(s *sample) float64 { return s.Seconds }); got != 3 {
		t.Errorf("the median of 5, 1 and 3 is not %v", got)
	}
}
