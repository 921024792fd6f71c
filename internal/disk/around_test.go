package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestWriteAround: blocks that are written around the cache, one behind the other and between others, are read as
// they were written, wherever they are in memory; also when one is written again.
func TestWriteAround(t *testing.T) {
	for _, aligned := range []bool{true, false} {
		rnd := rand.New(rand.NewPCG(1, 2))
		f, err := new(Disk).Open(filepath.Join(t.TempDir(), "file"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		memory := make([]byte, 1<<20)
		var want []byte
		for i := range 40 {
			n := 1 + rnd.IntN([]int{100, 3 * PageSize, 100 * PageSize}[i%3])
			at := len(want) % PageSize
			if !aligned {
				at += 1 + rnd.IntN(PageSize)
			}
			p := memory[at : at+n]
			for range 1 + i%2 {
				for j := range p {
					p[j] = byte(rnd.Uint32())
				}
				if got, err := f.WriteAround(p, int64(len(want))); err != nil || got != n {
					t.Fatalf("%d of %d bytes: %v", got, n, err)
				}
			}
			if want = append(want, p...); i%5 == 0 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("block %d, aligned %v: the file differs: %v", i, aligned, err)
			}
		}
	}
}
