package load

import (
	"bytes"
	"testing"
)

// TestLines: every line reads back, is as long as it says, and changes with any
// of its bytes.
func TestLines(t *testing.T) {
	lengths := make(map[int]bool)
	for i := range 20000 {
		src, seq := i%7*100000, i*i
		line := Seed(i%3).Append(nil, src, seq)
		if again := Seed(i%3).Append([]byte("x"), src, seq); !bytes.Equal(again[1:], line) {
			t.Fatalf("one line, made twice, differs: %q, %q", line, again)
		}
		line = line[:len(line)-1]
		lengths[len(line)] = true
		gotSrc, gotSeq, err := Parse(line)
		if err != nil || gotSrc != src || gotSeq != seq {
			t.Fatalf("Parse(%q) = %d, %d, %v; want %d, %d", line, gotSrc, gotSeq, err, src, seq)
		}
		line[i%len(line)] ^= 1 << (i % 8)
		if _, _, err := Parse(line); err == nil {
			t.Fatalf("Parse takes %q, in which a bit was changed", line)
		}
	}
	if !lengths[Least] || !lengths[Most] || len(lengths) != Most-Least+1 {
		t.Errorf("%d different lengths, want each from %d to %d", len(lengths), Least, Most)
	}
	if a, b := Seed(1).Append(nil, 1, 1), Seed(2).Append(nil, 1, 1); bytes.Equal(a, b) {
		t.Errorf("two seeds make the same line: %q", a)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "s", "s1 2 x 00000000", "s1  00000000", string(bytes.TrimSpace(Append(nil, 1, 2)))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if src, seq, err := Parse(line); err == nil && (src < 0 || seq < 0) {
			t.Fatalf("%q is source %d, line %d", line, src, seq)
		}
	})
}

func BenchmarkBlock(b *testing.B) {
	dst := make([]byte, 0, 1000*(Most+1))
	for b.Loop() {
		dst = Seed(1).Block(dst[:0], 3, 100000, 1000)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "lines/s")
	b.SetBytes(int64(len(dst)))
}

func BenchmarkParse(b *testing.B) {
	line := bytes.TrimSpace(Append(nil, 3, 100000))
	for b.Loop() {
		Parse(line)
	}
}
