//go:build unix

package ship

import (
	"fmt"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// method is a way to compress and decompress.
type method struct {
	name           string
	encode, decode func(dst, src []byte) []byte
}

func methods(b *testing.B) (all []method) {
	must := func(p []byte, err error) []byte {
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	unzstd, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(unzstd.Close)
	uns2 := func(dst, src []byte) []byte { return must(s2.Decode(dst[:cap(dst)], src)) }
	all = append(all, method{"s2", s2.Encode, uns2}, method{"s2 better", s2.EncodeBetter, uns2}, method{"s2 best", s2.EncodeBest, uns2})
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression} {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, method{"zstd " + level.String(), func(dst, src []byte) []byte { return z.EncodeAll(src, dst[:0]) },
			func(dst, src []byte) []byte { return must(unzstd.DecodeAll(src, dst[:0])) }})
	}
	return all
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEncodings measures what docs/benchmarks.md says of the encodings: batches of 1 MiB, and of
// 64 KiB.
func BenchmarkEncodings(b *testing.B) {
	for _, kind := range []struct {
		name  string
		lines func(int) ([]byte, int)
	}{{"web", webLines}, {"app", appLines}} {
		for _, size := range []int{1 << 20, 64 << 10} {
			text, lines := kind.lines(size)
			for _, m := range methods(b) {
				packed := m.encode(nil, text)
				name := fmt.Sprintf("%s/%dK/%s", kind.name, size>>10, m.name)
				plain := make([]byte, len(text))
				for way, f := range map[string]func(){
					"encode": func() { packed = m.encode(packed, text) },
					"decode": func() { plain = m.decode(plain, packed) },
				} {
					b.Run(name+"/"+way, func(b *testing.B) {
						begun := cpu()
						for b.Loop() {
							f()
						}
						used := (cpu() - begun).Seconds() / float64(b.N)
						b.ReportMetric(used/float64(lines)*1e6, "cpu-s/Mlines")
						b.ReportMetric(float64(len(text))/used/1e6, "MB/cpu-s")
						b.ReportMetric(float64(len(text))/float64(len(packed)), "ratio")
					})
				}
			}
		}
	}
}
