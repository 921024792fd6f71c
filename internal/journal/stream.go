package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"fanin/internal/retry"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// stream is a sequence of entries as a stream of the log. Its offsets are the numbers of
// entries, see package sequence, and its witnesses the times at which the journal received
// them, in microseconds since 1970.
type stream struct {
	j     *Journal
	id    sequenceID
	seq   *sequence.Sequence
	batch sequence.Builder
	lost  uint64 // messages that journald lost, as the entries in the batch say
	log   logID  // that has the stream at the place that seq knows; zero: not known
	back  bool   // the log was found to have less than before
}

// logID names one incarnation of a log.
type logID struct{ log, incarnation wire.StreamID }

// kindJournal begins the identity of the journal's streams; the 16 bytes of the sequence id
// follow. Other values of the first byte are identities of files.
const kindJournal = 4

// identityOf is the identity of a stream.
func identityOf(id sequenceID) []byte { return append([]byte{kindJournal}, id[:]...) }

// parseIdentity is the reverse of identityOf.
func parseIdentity(identity []byte) (id sequenceID, ok bool) {
	if len(identity) != 1+len(id) || identity[0] != kindJournal {
		return id, false
	}
	return sequenceID(identity[1:]), true
}

// Owns reports whether a stream is one of the journal's.
func Owns(s *wire.StreamState) bool {
	_, ok := parseIdentity(s.Identity)
	return ok
}

// streamID is the stream of a sequence: 16 bytes of a SHA-256.
func streamID(id sequenceID) wire.StreamID {
	sum := sha256.Sum256(append([]byte("journal "), id[:]...))
	return wire.StreamID(sum[:16])
}

func newStream(j *Journal, id sequenceID) *stream {
	return &stream{j: j, id: id, seq: sequence.New(j.Out, wire.Batch{
		Kind: wire.StreamAgent, Stream: streamID(id), Source: "journal",
		Control: wire.Control{Identity: identityOf(id)}})}
}

// latest is the last entry that the log has completely.
func (s *stream) latest() place {
	return place{id: s.id, number: s.seq.Last(), time: int64(s.seq.Witness())}
}

// open makes both sides agree where the stream is. What the log says counts, except for an
// incarnation of it that has lost what another one had: the stream then skips to where it was.
func (s *stream) open(ctx context.Context) error {
	log := s.j.session.id()
	local := s.seq.Watermark()
	changed := s.log != log && s.log != logID{}
	if changed {
		s.seq.Adopt(wire.Watermark{Epoch: local.Epoch})
	}
	if err := s.seq.Open(ctx); err != nil {
		s.seq.Adopt(local)
		return err
	}
	if now := s.seq.Watermark(); changed && now.Epoch == local.Epoch && now.Offset < local.Offset {
		if err := s.seq.SkipToPoint(ctx, local.Point, "kept in an earlier life of the log"); err != nil {
			s.seq.Adopt(local)
			return err
		}
	}
	s.log = log
	return nil
}

// add adds the lines of an entry to the stream's batch, except for those that the log has.
func (s *stream) add(ctx context.Context, r *record) error {
	e := sequence.Entry{Number: r.number, Witness: sequence.Witness(r.time)}
	if !s.batch.Empty() && e.End().Offset <= s.batch.End.Offset {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	if s.seq.State(e) == sequence.Reused {
		if err := s.restart(ctx, e); err != nil {
			return err
		}
	}
	if r.missing > 0 {
		if err := s.skip(ctx, r); err != nil {
			return err
		}
	}
	labels := wire.Labels{Source: r.source, Time: time.UnixMicro(r.shown), Attributes: r.attributes}
	for chunk, end := range s.seq.Lines(e, r.text, s.batch.End.Offset) {
		if !s.fits(len(chunk) + wire.MarkBytes + len(r.source) + len(r.attributes)) {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
		s.batch.Joined = s.batch.Joined || wire.IsRecord(chunk)
		s.batch.AddAs(labels, chunk, end)
	}
	if len(r.text) > 0 {
		s.lost += r.suppressed
	}
	return nil
}

// fits reports whether a chunk and its labels fit into the batch.
func (s *stream) fits(n int) bool {
	return s.batch.Empty() || s.batch.Fits(n) && s.batch.Size()+n <= s.j.session.batchText()
}

// restart begins a new epoch: the journal has another entry with a number that was sent.
func (s *stream) restart(ctx context.Context, e sequence.Entry) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	s.j.limited.Warn("reused", "the journal gives numbers again that other entries had: it was restored from a copy; "+
		"its new entries are sent", "sequence", s.id, "number", e.Number, "sent_up_to", s.seq.Last())
	s.j.counts.reused.Add(1)
	return s.decided(ctx, func() error { return s.seq.Restart(ctx, e) })
}

// skip commits that entries before r are missing.
func (s *stream) skip(ctx context.Context, r *record) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	if r.number <= s.seq.Last()+1 {
		return nil // committed before
	}
	reason := fmt.Sprintf("%d entries are missing in the journal", r.missing)
	if err := s.decided(ctx, func() error { return s.seq.SkipTo(ctx, r.number, reason) }); err != nil {
		return err
	}
	s.j.reportMissing(r)
	return nil
}

// flush commits the batch.
func (s *stream) flush(ctx context.Context) error {
	if s.batch.Empty() {
		return nil
	}
	err := s.decided(ctx, func() error { return s.seq.Append(ctx, &s.batch.Batch, s.batch.End) })
	if err == nil {
		s.j.counts.lines.Add(uint64(s.batch.Lines))
		s.j.counts.bytes.Add(uint64(len(s.batch.Text)))
		s.j.reportSuppressed(s.lost)
	}
	s.drop()
	return err
}

// drop forgets what was not sent.
func (s *stream) drop() {
	s.batch.Reset()
	s.lost = 0
}

// errElsewhere says that the log has the stream at another place than this agent thought.
// Reading begins anew from there.
var errElsewhere = errors.New("the log has the journal at another place")

// decided repeats an operation until its outcome is decided: done, or errElsewhere.
func (s *stream) decided(ctx context.Context, do func() error) error {
	failed := retry.Backoff{Min: 250 * time.Millisecond, Max: 5 * time.Second}
	refused := retry.Backoff{Min: s.j.refusedPause(), Max: 64 * s.j.refusedPause()}
	for {
		met := s.j.session.nextWelcome()
		log := s.j.session.id()
		err := do()
		elsewhere := new(wire.Expected)
		switch {
		case err == nil:
			s.log = log
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &elsewhere):
			return errors.Join(errElsewhere, s.resume(ctx, elsewhere, log))
		case errors.Is(err, wire.ErrRefused):
			s.j.reportRefusal(err)
			select {
			case <-ctx.Done():
			case <-met:
			case <-time.After(refused.Next()):
			}
		default:
			s.j.setTrouble("waiting: " + err.Error())
			retry.Pause(ctx, failed.Next())
		}
	}
}

// resume makes the place that the log answered with this stream's.
func (s *stream) resume(ctx context.Context, elsewhere *wire.Expected, log logID) (err error) {
	s.drop()
	was := s.seq.Watermark()
	if elsewhere.Known && s.log == log {
		s.seq.Adopt(elsewhere.Watermark)
	} else {
		err = s.open(ctx)
	}
	now := s.seq.Watermark()
	s.back = s.back || now.Epoch != was.Epoch || now.Offset < was.Offset
	return err
}
