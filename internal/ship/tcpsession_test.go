package ship

import (
	"errors"
	"net"
	"testing"

	"fanin/internal/wire"
)

// TestNothingSentWhileDraining: a batch that finds the session just before the collector announces its
// stop is not sent after that: no answer would come.
func TestNothingSentWhileDraining(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	s := newTCPSession(ours, &TCP{})
	s.drain()
	b := wire.Batch{Stream: wire.NewStreamID(), Text: []byte("a line\n"), End: 7}
	if err := s.append(t.Context(), &b); !errors.Is(err, errDrained) {
		t.Errorf("%v, want %v", err, errDrained)
	}
	if !s.ending() || len(s.waiting) > 0 {
		t.Errorf("%d batches wait in a session that drains", len(s.waiting))
	}
}

// lastAnswer is a connection over which the answer to a batch comes together with the end.
type lastAnswer struct {
	net.Conn
	end func()
}

func (c lastAnswer) Write(b []byte) (int, error) {
	c.end()
	return len(b), nil
}

// TestAnswerBeforeTheEnd: an answer that came before the connection ended counts.
func TestAnswerBeforeTheEnd(t *testing.T) {
	for range 50 {
		ours, theirs := net.Pipe()
		b := wire.Batch{Stream: wire.NewStreamID(), Text: []byte("a line\n"), End: 7}
		var s *tcpSession
		s = newTCPSession(lastAnswer{ours, func() {
			s.deliver(b.Stream, wire.Answer{Kind: wire.KindAck, Stream: b.Stream})
			s.close(nil)
		}}, &TCP{})
		if err := s.append(t.Context(), &b); err != nil {
			t.Fatalf("the batch was acknowledged: %v", err)
		}
		theirs.Close()
	}
}
