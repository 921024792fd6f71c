//go:build !windows

package tail

import (
	"os"
	"sync/atomic"
	"testing"

	"fanin/internal/tail/decode"
)

// What happens to files while they are read.

// meddling is a decoder that calls back before the file is read.
type meddling struct {
	decode.Plain
	before func()
}

func (m *meddling) Window(block []byte) []byte {
	m.before()
	return m.Plain.Window(block)
}

// TestRewrittenWhileItIsRead: a file is truncated just before it is read, and is as long again and longer.
func TestRewrittenWhileItIsRead(t *testing.T) {
	onClock(t, func(r *clocked) {
		var due atomic.Bool
		follow := r.change
		r.change = func(t *Tailer) {
			follow(t)
			t.Tables[0].Decoder = &meddling{before: func() {
				if due.Swap(false) {
					os.Truncate(r.path("a.log"), 0)
					r.append("a.log", "3\n4\n")
				}
			}}
		}
		r.stopped().started()
		r.write("a.log", "1\n").look().look().write("a.log", "2\n")
		due.Store(true)
		r.keeps("1 3 4")
	})
}
