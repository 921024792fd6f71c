package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// With sync=none, a power cut may leave nothing of the catalog, or an older one. No generation is another
// file than the one that had the number before: what remembers a position sees that it is gone.
func TestNumbersAfterPowerCut(t *testing.T) {
	anew := 0
	for seed := range uint64(40) {
		l := newLife(t, fmt.Sprintf("seed %d", seed), syncNone, true)
		s, err := l.start()
		if err != nil {
			t.Fatal(err)
		}
		had := make(map[uint64]uint64) // the inode of each generation
		for range 4 + seed%3 {
			l.work(s, 5) // with a rotation at its end
			l.work(s, int(seed%4))
			l.numbers(s, had)
		}
		if seed%3 == 0 { // in the middle of a rotation, perhaps
			l.disk.StopAt(int64(rand.N(40)+1), 0)
			l.work(s, 6)
		}
		l.crash(s, seed)
		l.boot = "another one"
		s = l.make()
		var damaged *DamagedError
		if err := s.Open(context.Background()); errors.As(err, &damaged) {
			l.disk.Remove()
			continue // it is another log after its repair
		} else if err != nil {
			l.fail("open: %v", err)
		}
		anew += l.newNumbers(s, had)
		s.Close(context.Background())
		l.disk.Remove()
	}
	if anew == 0 {
		t.Error("no file got a new number: nothing was tested")
	}
}

// numbers notes the inodes of the log's files with lines, by generation.
func (l *life) numbers(s *Sink, had map[uint64]uint64) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for i, g := range s.view.catalog.generations {
		if g.size > 0 || i == len(s.view.catalog.generations)-1 && s.view.size > 0 {
			had[g.number] = g.inode
		}
	}
}

// newNumbers reports a generation that had lines of another file before, and counts files that had another
// number.
func (l *life) newNumbers(s *Sink, had map[uint64]uint64) (anew int) {
	l.Helper()
	last, known := uint64(0), make(map[uint64]bool)
	for n, inode := range had {
		last, known[inode] = max(last, n), true
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, g := range s.view.catalog.generations {
		if inode := had[g.number]; inode != g.inode && (inode != 0 || g.number <= last) {
			l.fail("generation %d is file %d, and was %d; %v", g.number, g.inode, inode, had)
		}
		if known[g.inode] && had[g.number] != g.inode {
			anew++
		}
	}
	return anew
}
