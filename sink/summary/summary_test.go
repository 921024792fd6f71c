package summary

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// key is a cell of a series.
type key struct {
	Series
	number int64
}

// cellsOf returns the cells of rows.
func cellsOf(rows []Row) map[key]uint64 {
	cells := make(map[key]uint64)
	for _, r := range rows {
		r.Each(func(minute int64, lines uint64) {
			cells[key{Series{string(r.Host), string(r.Source)}, minute}] += lines
		})
	}
	return cells
}

func parsed(t *testing.T, b []byte) *Summary {
	t.Helper()
	s, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func example() (File, *Tally) {
	t := NewTally()
	for i, minute := range []int64{29_000_000, 29_000_001, 29_000_001, 28_999_000, 29_000_500} {
		t.Add(Series{"web-1", "nginx"}, minute, uint64(i+1))
		t.Add(Series{"db", "postgres"}, minute+1, 300)
		t.AddBytes(nil, nil, minute, 1)
	}
	return File{3, 4711, 1_740_000_000_000_000, 1 << 20}, t
}

// TestGolden: the format of a summary does not change.
func TestGolden(t *testing.T) {
	f, tally := example()
	got := tally.Append(nil, f)
	path := filepath.Join("testdata", "summary.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format has changed:\n%x\nwant\n%x", got, want)
	}
	s := parsed(t, want)
	if s.File != f || s.Lines != 1520 || len(s.Series) != 3 || s.First != 28_999_000 || s.Last != 29_000_501 {
		t.Errorf("read back as %+v", s)
	}
}

// TestTally: what a tally counts is what was added, in whatever order that was.
func TestTally(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tally, late := NewTally(), NewTally()
		want, total := make(map[key]uint64), uint64(0)
		for i := range 3000 {
			s := Series{fmt.Sprint("host", rnd.IntN(20)), fmt.Sprint("source", rnd.IntN(5))}
			minute, lines := int64(rnd.IntN(2000))-1000, uint64(rnd.IntN(3))
			to := tally
			if i > 1500 {
				to = late
			}
			if rnd.IntN(2) == 0 {
				to.Add(s, minute, lines)
			} else {
				to.AddBytes([]byte(s.Host), []byte(s.Source), minute, lines)
			}
			if lines > 0 {
				want[key{s, minute}] += lines
				total += lines
			}
		}
		tally.Merge(late)
		s := parsed(t, tally.Append(nil, File{Generation: seed}))
		want0 := make(map[key]uint64)
		for k, n := range want {
			want0[key{number: k.number}] += n
		}
		if got := cellsOf(s.Series); !maps.Equal(got, want) || s.Lines != total || s.Other.Lines != 0 {
			t.Fatalf("seed %d: %d cells and %d lines; want %d and %d", seed, len(got), s.Lines, len(want), total)
		}
		if got := cellsOf([]Row{s.All}); !maps.Equal(got, want0) {
			t.Fatalf("seed %d: the row of all lines has %d cells; want %d", seed, len(got), len(want0))
		}
	}
}

// TestTallyBounds: a tally of very many series and minutes stays small, and loses no line.
func TestTallyBounds(t *testing.T) {
	tally := NewTally()
	total := uint64(0)
	for i := range 3 * maxTallied {
		for j := range 100 {
			n := uint64(1)
			if i%4 == 0 {
				n = 2
			}
			tally.Add(Series{fmt.Sprint("host", i), "app"}, int64(j*37+i), n)
			total += n
		}
	}
	if tally.cells > maxCells || len(tally.series) > maxTallied {
		t.Errorf("%d cells, %d series", tally.cells, len(tally.series))
	}
	s := parsed(t, tally.Append(nil, File{}))
	sum := s.Other.Lines
	for _, r := range s.Series {
		sum += r.Lines
		lines := uint64(0)
		r.Each(func(_ int64, n uint64) { lines += n })
		if lines != r.Lines || lines != 200 {
			t.Fatalf("%s has %d lines, its cells %d; those with the most lines are to be kept", r.Host, r.Lines, lines)
		}
	}
	if sum != total || s.Lines != total || len(s.Series) != MaxSeries || s.Step == 1 {
		t.Errorf("%d lines in %d series, cells of %d minutes; want %d lines", sum, len(s.Series), s.Step, total)
	}
}

// TestDamaged: no summary with a changed byte, or cut off, is read.
func TestDamaged(t *testing.T) {
	f, tally := example()
	whole := tally.Append(nil, f)
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 0x10
		if _, err := Parse(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := Parse(whole[:i]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off at byte %d: %v", i, err)
		}
	}
}

// FuzzParse: whatever a file holds, it is read without harm. Checksums are set right, so that
// what is behind them is reached.
func FuzzParse(f *testing.F) {
	of, tally := example()
	f.Add(tally.Append(nil, of))
	f.Add(NewTally().Append(nil, File{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		fixChecksums(b)
		s, err := Parse(b)
		if err != nil {
			return
		}
		for _, r := range append(s.Series, s.All, s.Other) {
			r.Each(func(int64, uint64) {})
		}
	})
}

// TestTallyOfScatteredTimes: lines of any times cost the writer little, which waits while they are added
// and while a summary is made: agents say when they read their lines.
func TestTallyOfScatteredTimes(t *testing.T) {
	of := func(minute func(i int) int64) (took time.Duration, sum *Summary) {
		tally := NewTally()
		for i := range 250_000 {
			tally.Add(Series{fmt.Sprint("host", i%maxTallied), "app"}, minute(i), 1)
		}
		if n := len(tally.all.cells); n > maxRow || tally.cells > maxCells {
			t.Errorf("%d cells of all lines, %d of series", n, tally.cells)
		}
		began := time.Now()
		b := tally.Append(nil, File{})
		return time.Since(began), parsed(t, b)
	}
	dense, _ := of(func(i int) int64 { return int64(i / maxTallied) })
	scattered, sum := of(func(i int) int64 { return int64(i) })
	if scattered > 50*dense {
		t.Errorf("the summary of scattered times takes %v, %v otherwise", scattered, dense)
	}
	lines, last := uint64(0), int64(-1)
	sum.Other.Each(func(minute int64, n uint64) {
		if minute <= last {
			t.Fatalf("a cell of minute %d follows that of %d", minute, last)
		}
		lines, last = lines+n, minute
	})
	if lines != sum.Other.Lines || sum.Lines != 250_000 {
		t.Errorf("%d lines in cells, %d in the row, %d in all", lines, sum.Other.Lines, sum.Lines)
	}
}
