package appendertest

import (
	"errors"
	"testing"

	"fanin/internal/wire"
)

// RunOwners tests that a stream belongs to its sender: one that learns another's stream
// id, and even its tail hash, cannot use the stream. It is for Appenders that use each
// batch's Agent and Kind as the input has set them.
func RunOwners(t *testing.T, new func(t *testing.T) wire.Appender) {
	for name, change := range map[string]func(b *wire.Batch){
		"another agent": func(b *wire.Batch) { b.Agent = "another" },
		"datagrams": func(b *wire.Batch) {
			b.Kind, b.Before, b.After, b.FirstLine = wire.StreamLossy, 0, 0, 1000
			b.Epoch += 5
		},
		"plain messages": func(b *wire.Batch) { b.Kind, b.Agent = wire.StreamNATS, "nats:LOGS" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, new(t)).opened()
			s.send(3)
			theirs := s.batch(2)
			change(&theirs)
			intrude(t, s, theirs)
			s.stands()
			s.send(1)
			if theirs.Kind != wire.StreamLossy { // its lines are kept, in a stream of the same name
				s.kept()
			}
		})
	}
}

// intrude does with the stream what its owner might do next.
func intrude(t *testing.T, s *source, data wire.Batch) {
	t.Helper()
	if data.Kind == wire.StreamLossy {
		s.acked(data) // it is another stream, and its own
		return
	}
	for _, op := range []wire.Op{wire.OpData, wire.OpSkip} {
		b := data
		if b.Op = op; op == wire.OpSkip {
			b.Text, b.Reason = nil, "not theirs to skip"
		}
		var e *wire.Expected
		if err := s.settle(b); !errors.As(err, &e) || e.Known {
			t.Errorf("%s: %v, want a stream that is not known", describe(b), err)
		}
	}
	end := s.op(wire.OpEnd)
	end.Kind, end.Agent = data.Kind, data.Agent
	s.acked(end) // of a stream that it does not have
	rename := s.op(wire.OpOpen)
	rename.Kind, rename.Agent, rename.Source = data.Kind, data.Agent, "theirs"
	s.acked(rename) // a stream of its own, which happens to have the same id
}
