package ship

import (
	"errors"
	"net"
	"testing"

	"fanin/internal/wire"
)

// TestNothingBegunWhileDraining: a batch that finds the session just before the
// collector's word that it goes down is not sent after it: no answer would come.
func TestNothingBegunWhileDraining(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	s := newSession(ours, &TCP{})
	s.draining = true
	b := wire.Batch{Stream: wire.NewStreamID(), Text: []byte("a line\n"), End: 7}
	if err := s.append(t.Context(), &b); !errors.Is(err, errDrained) {
		t.Errorf("%v, want %v", err, errDrained)
	}
	if !s.ending() || len(s.waiting) > 0 {
		t.Errorf("%d batches wait in a session that ends", len(s.waiting))
	}
}
