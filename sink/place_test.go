package sink

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestPlace finds places by time, and refuses what is none.
func TestPlace(t *testing.T) {
	begin := time.Now().Add(-600 * time.Second).Truncate(time.Second)
	s, places := manyFiles(t, begin)
	// The files were all closed just now, so times are found in the oldest ledger
	// that has them.
	for _, i := range []int{0, 1, 149} {
		at, err := s.Resolve(context.Background(), begin.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339))
		if err != nil || at != places[i] {
			t.Errorf("line %d: %s, %v; want %s", i, at, err, places[i])
		}
	}
	for _, i := range []int{150, 299, 300, 449} { // closed before: not even looked into
		at, err := s.Resolve(context.Background(), begin.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339))
		if err != nil || at != places[i] {
			t.Errorf("line %d: %s, %v; want %s", i, at, err, places[i])
		}
	}
	for from, want := range map[string]Position{"start": places[0], "end": s.End(), "": s.End(), "1d": places[0], "24h": places[0], places[77].String(): places[77]} {
		if at, err := s.Resolve(context.Background(), from); err != nil || at != want {
			t.Errorf("%q: %s, %v; want %s", from, at, err, want)
		}
	}
	for _, from := range []string{"yesterday", "-5m", "10", "2026-11-22", "1:", "5 m"} {
		if at, err := s.Resolve(context.Background(), from); !errors.Is(err, ErrNotInLog) {
			t.Errorf("%q: %s, %v", from, at, err)
		}
	}
	for _, from := range []string{"99:0", "1:999999999"} {
		if at, err := s.Resolve(context.Background(), from); !errors.Is(err, ErrNoPosition) {
			t.Errorf("%q: %s, %v", from, at, err)
		}
	}
}
