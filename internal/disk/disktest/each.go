package disktest

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

// rounds is how often each access is visited, each time with another seed. The
// environment's FANIN_ROUNDS says how often instead, as `make torture` does.
const rounds = 1

// EachAccess has visit stop the disk at each access, from the first one on, until
// it reports that all was over before it came to that one. So many workers visit one
// each at a time, since most of the time is spent waiting. Seeds are such that
// each access is met with others in each round.
func EachAccess(t *testing.T, workers int64, visit func(t *testing.T, n int64, seed uint64) (ended bool)) {
	t.Helper()
	n := rounds
	if s := os.Getenv("FANIN_ROUNDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("FANIN_ROUNDS=%s: want how often each access is to be visited", s)
		}
	}
	for w := range workers {
		t.Run(fmt.Sprint("worker ", w), func(t *testing.T) {
			t.Parallel()
			for at, ended := w+1, false; !ended; at += workers {
				ended = true
				for round := range n {
					ended = visit(t, at, seedOf(uint64(at), uint64(round))) && ended
				}
			}
		})
	}
}

// seedOf gives each second visit a loss with a meaning of its own, each in turn.
func seedOf(at, round uint64) uint64 {
	if n := at + round; n%2 == 0 {
		return n / 2 % Losses
	}
	return Losses + at*1000 + round
}
