package appendertest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"fanin/internal/wire"
)

// RunLossy tests the weaker promise of an Appender of lossy batches: nil means that
// they were sent, no position is ever returned, and nothing is kept twice. new makes
// one as for Run.
func RunLossy(t *testing.T, new func(t *testing.T) wire.Appender) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a wire.Appender)
	}{
		{"lines in order are accepted", lossyInOrder},
		{"a gap and a repeat are no errors", lossyGap},
		{"a new epoch opens itself", lossyEpoch},
		{"what is refused stays refused", lossyRefused},
		{"the text belongs to the caller after the return", lossyReused},
		{"a cancelled context does no harm", lossyCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, new(t)) })
	}
}

// lossy is the next n lines as a lossy batch. Its text is the source's own
// bytes, as it must be to be split into datagrams.
func (s *source) lossy(n int) wire.Batch {
	b := s.batch(n)
	b.Kind, b.Before, b.After = wire.StreamLossy, 0, 0
	b.Offset = int64(len(s.text))
	b.End = b.Offset + int64(len(b.Text))
	return b
}

// sendLossy sends n lines; lost ones only seem to be sent.
func (s *source) sendLossy(n int, lost bool) wire.Batch {
	s.t.Helper()
	b := s.lossy(n)
	s.text = append(s.text, b.Text...)
	s.line += int64(n)
	if !lost {
		s.takenLossy(b)
	}
	return b
}

func (s *source) takenLossy(b wire.Batch) {
	s.t.Helper()
	if err := s.to.Append(s.t.Context(), b); err != nil {
		s.t.Fatalf("lossy %s: %v, want nil", describe(b), err)
	}
}

// keptLossy compares what was kept with want, if the Appender shows it.
func (s *source) keptLossy(want []byte) {
	s.t.Helper()
	if k, ok := s.to.(interface{ Text(wire.StreamID) []byte }); ok {
		if got := k.Text(s.id); !bytes.Equal(got, want) {
			s.t.Fatalf("stream %s: kept %.300q, want %.300q", s.id, got, want)
		}
	}
}

func lossyInOrder(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	for n := 1; n < 40; n++ {
		s.sendLossy(n, false)
	}
	s.keptLossy(s.text)
}

func lossyGap(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	first := s.sendLossy(2, false)
	s.sendLossy(3, true)
	second := s.sendLossy(1, false)
	s.takenLossy(second)
	s.takenLossy(first)
	third := s.sendLossy(1, false)
	s.keptLossy(bytes.Join([][]byte{first.Text, second.Text, third.Text}, nil))
}

func lossyEpoch(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	old := s.sendLossy(3, false)
	kept := bytes.Clone(s.text)
	s.epoch, s.text, s.line = s.epoch+1, nil, 0
	s.sendLossy(2, false)
	s.takenLossy(old) // a datagram that arrives late
	s.keptLossy(append(kept, s.text...))
}

func lossyRefused(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	s.sendLossy(1, false)
	for what, b := range unfit(s) {
		if b.Op != wire.OpData {
			continue // lossy streams have no other
		}
		b.Kind = wire.StreamLossy
		for range 2 {
			if err := a.Append(t.Context(), b); !errors.Is(err, wire.ErrRefused) {
				t.Fatalf("%s: %v, want wire.ErrRefused", what, err)
			}
		}
	}
	s.sendLossy(1, false)
	s.keptLossy(s.text)
}

func lossyReused(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	for range 20 {
		b := s.lossy(10)
		block := bytes.Clone(b.Text)
		s.text, s.line = append(s.text, block...), s.line+10
		s.takenLossy(b)
		for i := range b.Text {
			b.Text[i] = 'X'
		}
	}
	s.keptLossy(s.text)
}

func lossyCancelled(t *testing.T, a wire.Appender) {
	s := newSource(t, a)
	s.sendLossy(1, false)
	kept := bytes.Clone(s.text)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lost := s.sendLossy(1, true)
	if err := a.Append(ctx, lost); err == nil {
		kept = append(kept, lost.Text...)
	}
	next := s.sendLossy(1, false)
	s.keptLossy(append(kept, next.Text...))
}
