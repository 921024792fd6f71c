package redisconn

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkReader reads the reply to XREAD COUNT 1000 with lines of 100 bytes.
func BenchmarkReader(b *testing.B) {
	var reply strings.Builder
	reply.WriteString("*1\r\n*2\r\n$4\r\nlogs\r\n*1000\r\n")
	for i := range 1000 {
		fmt.Fprintf(&reply, "*2\r\n$15\r\n1700000000000-%d\r\n*2\r\n$7\r\nmessage\r\n$100\r\n%0100d\r\n", i%10, i)
	}
	text := reply.String()
	src := strings.NewReader("")
	r := NewReader(src, 0, 0, nil)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(text)
		v, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range v.At(0).At(1).All() {
			if len(e.At(1).At(1).Bytes()) != 100 {
				b.Fatal("not the line")
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "entries/s")
}
