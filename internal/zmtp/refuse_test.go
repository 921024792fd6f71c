package zmtp

import (
	"context"
	"io"
	"testing"
)

// noMemory is a Memory that lends one block, of some size, and then none.
type noMemory struct{ size, lent, released int }

func (m *noMemory) Grow(_ context.Context, block []byte, have, _ int) ([]byte, error) {
	if block != nil || have >= m.size {
		return nil, ErrNoMemory
	}
	m.lent++
	return make([]byte, m.size), nil
}

func (m *noMemory) Release([]byte, bool) { m.released++ }

// TestNoMemory: a message for which there is no memory is skipped, and the others are received.
func TestNoMemory(t *testing.T) {
	var many [][]byte
	for range 50 {
		many = append(many, make([]byte, 3000))
	}
	messages := [][][]byte{{[]byte("a")}, {make([]byte, 100<<10)}, {[]byte("b")}, many, {[]byte("c")},
		{[]byte("t"), make([]byte, 60<<10), []byte("end")}, {[]byte("d")}}
	for _, encrypted := range []bool{false, true} {
		for _, few := range []int{0, 7, 1000} {
			for _, size := range []int{0, 40 << 10, 50_000} {
				m := &noMemory{size: size}
				s := &script{few: few}
				var in *box
				w := &box{send: newNonce(clientNonce)}
				for _, frames := range messages {
					for i, f := range frames {
						if encrypted {
							s.in = w.appendFrame(s.in, moreFlag(i, frames), f)
						} else {
							s.in = append(appendHeader(s.in, moreFlag(i, frames), len(f)), f...)
						}
					}
				}
				if encrypted {
					in = &box{got: newNonce(clientNonce)}
				}
				var counts Counts
				c := served(s, &Options{Type: Pull, MaxMessage: 1 << 20, Memory: m, Counts: &counts}, in)
				got := ""
				frames, err := c.Receive()
				for ; err == nil; frames, err = c.Receive() {
					got += string(frames[0])
				}
				if got != "abcd" || err != io.EOF || m.lent != m.released || counts.Skipped.Load() != 0 {
					t.Errorf("encrypted %v, %d a read, %d lent: got %q, %v, %d lent, %d released, %d skipped",
						encrypted, few, size, got, err, m.lent, m.released, counts.Skipped.Load())
				}
			}
		}
	}
}
