package relp

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

var goldenTime = time.UnixMicro(1760220855123456)

// goldenSession has two blocks, of which the second is not full.
func goldenSession() *session {
	s := &session{id: sessionID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, peer: "192.0.2.1", begin: 512}
	for i := range 258 {
		s.hashes = append(s.hashes, uint64(i)+0x1122334455660000)
	}
	return s
}

// The form of a block on the disk is that of the release that wrote it first.
func TestBlockGolden(t *testing.T) {
	var out strings.Builder
	for _, x := range goldenSession().record([]uint64{0xffeeddccbbaa9988}, 4096, goldenTime) {
		fmt.Fprintf(&out, "%d\n%x\n%s\n", x.Kind, x.Name, hex.EncodeToString(x.Value))
	}
	path := filepath.Join("testdata", "block.golden")
	if os.Getenv("FANIN_GOLDEN") == "write" {
		must(t, os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if out.String() != string(want) {
		t.Errorf("a block is\n%s\nwant\n%s", out.String(), want)
	}
}

// What a session has the log remember is the session, as frames come, for each size of batch and window.
func TestBlocks(t *testing.T) {
	for _, window := range []int{1, 16, 255, 256, 257, 1000} {
		for _, step := range []int{1, 3, 255, 256, 700} {
			log := make(map[string][]byte)
			s := newSession("peer")
			next := uint64(0)
			for next < 2500 {
				var hashes []uint64
				for range step {
					hashes = append(hashes, next)
					next++
				}
				for _, x := range s.record(hashes, window, goldenTime) {
					if log[x.Name] = x.Value; len(x.Value) == 0 {
						delete(log, x.Name)
					}
				}
				s.committed(hashes, window)
			}
			m := &Sessions{Remembered: func(wire.ExtensionKind) map[string][]byte { return log }}
			m.load()
			got := m.peers["peer"]
			if len(got) != 1 || got[0].begin != s.begin || !slices.Equal(got[0].hashes, s.hashes) || m.blocks != s.blocks() {
				t.Fatalf("window %d, step %d: %d blocks are read as %+v, want %+v", window, step, len(log), got, s)
			}
			if n := len(s.hashes); n < min(window, 2500) || n > window+2*blockFrames+step {
				t.Errorf("window %d, step %d: %d hashes", window, step, n)
			}
			if !reflect.DeepEqual(slices.Sorted(keysOf(log)), slices.Sorted(slices.Values(s.names(nil)))) {
				t.Errorf("window %d, step %d: the log has other blocks", window, step)
			}
		}
	}
}

func keysOf(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// overlapOf agrees with the plain comparison, also where lines are equal.
func TestOverlap(t *testing.T) {
	seed := uint64(1)
	list := func(n int) (all []uint64) {
		for range n {
			seed = seed*6364136223846793005 + 1442695040888963407
			all = append(all, seed>>62&1)
		}
		return all
	}
	for range 3000 {
		first, last := list(int(seed>>60&7)+1), list(int(seed>>59&15)+1)
		var want overlap
		for n := 1; n <= min(len(first), len(last)); n++ {
			if slices.Equal(first[:n], last[len(last)-n:]) {
				want.longest = n
				if want.shortest == 0 {
					want.shortest = n
				}
			}
		}
		for at := 0; at+len(first) < len(last); at++ {
			want.more = want.more || slices.Equal(first, last[at:at+len(first)])
		}
		if got := overlapOf(first, last); got != want {
			t.Fatalf("%v and %v: %+v, want %+v", first, last, got, want)
		}
	}
}
