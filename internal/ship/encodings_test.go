//go:build unix

package ship

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// webLines are lines of a web server's log, with addresses, paths, times, sizes and request ids as
// they occur: about 230 bytes each.
func webLines(n int) (text []byte, lines int) {
	r := rand.New(rand.NewPCG(1, 2))
	agents := []string{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"curl/8.5.0", "Prometheus/2.53.0", "kube-probe/1.30"}
	paths := []string{"/api/v1/orders", "/api/v1/users", "/static/app.js", "/healthz", "/metrics", "/api/v2/search"}
	codes := []int{200, 200, 200, 200, 201, 204, 304, 404, 500}
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	for b.Len() < n {
		at = at.Add(time.Duration(r.IntN(3000)) * time.Microsecond)
		fmt.Fprintf(&b, "192.0.2.%d - - [%s] \"GET %s/%d?page=%d HTTP/1.1\" %d %d \"-\" %q rt=0.%03d id=%016x%016x\n",
			r.IntN(256), at.Format("02/Jan/2006:15:04:05 -0700"), paths[r.IntN(len(paths))], r.IntN(100_000), r.IntN(50),
			codes[r.IntN(len(codes))], r.IntN(40_000), agents[r.IntN(len(agents))], r.IntN(1000), r.Uint64(), r.Uint64())
		lines++
	}
	return b.Bytes(), lines
}

// appLines are lines of a service's own log, as key=value pairs, about 150 bytes each.
func appLines(n int) (text []byte, lines int) {
	r := rand.New(rand.NewPCG(3, 4))
	levels := []string{"info", "info", "info", "debug", "warn", "error"}
	messages := []string{"request served", "cache miss", "connection accepted", "retrying after an error", "job finished"}
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	for b.Len() < n {
		at = at.Add(time.Duration(r.IntN(3000)) * time.Microsecond)
		fmt.Fprintf(&b, "time=%s level=%s msg=%q service=orders pod=orders-7c9d%02x user=%d order=%d took=%dms\n",
			at.Format(time.RFC3339Nano), levels[r.IntN(len(levels))], messages[r.IntN(len(messages))], r.IntN(16),
			r.IntN(1_000_000), r.IntN(10_000_000), r.IntN(500))
		lines++
	}
	return b.Bytes(), lines
}

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
