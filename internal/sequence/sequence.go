// Package sequence follows a source of another system whose entries have ordered
// positions and can be read again: messages of a JetStream stream, entries of a Redis
// stream, events of a file. Such a source becomes a stream of the log like any other, so
// the log itself knows which entries it has, and an input repeats whatever it is unsure of.
//
// Entry number n has the offsets from n<<16 to (n+1)<<16. So a large entry may be committed
// in up to 65,536 chunks: an offset between two entries says how much of one is there. In
// place of tail hashes, the stream has witnesses.
package sequence

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// chunkBits is the number of bits of an offset that count the chunks of one entry.
const chunkBits = 16

// Witness tells two entries with the same number apart: a source that lost its end assigns
// the numbers again, but to later entries. Witnesses of a source do not decrease. Zero: the
// source has none, and its numbers are trusted.
//
// The log stores a witness in the place of a tail hash. It is a type of its own because it is
// none: it can be compared, and says nothing about bytes.
type Witness uint64

// At is the witness of an entry that its source stored at a time.
func At(t time.Time) Witness { return Witness(t.UnixNano()) }

// A Pair has one of two forms. Ids that a server makes have milliseconds since 1970, and a
// counter of few. Other writers have a small first part, and positions of their own behind it:
//
//	bit 63 is 0: first 20 bits, second 43 bits
//	bit 63 is 1: first 43 bits, of which at least one of the upper 23 is set, second 20 bits
//
// So a later id is a larger witness.
const (
	pairShort = 20
	pairLong  = 43
	pairLarge = 1 << 63 // the first part does not fit in pairShort bits
)

// Pair is the witness of an entry whose id has two parts, as in Redis: milliseconds and a
// counter. It keeps their order. ok is false if they fit in neither form: the witness is then
// that of the last id before this one that does.
func Pair(first, second uint64) (w Witness, ok bool) {
	switch {
	case first>>pairLong != 0:
		return math.MaxUint64, false
	case first>>pairShort != 0:
		w, ok = Witness(pairLarge|first<<pairShort|min(second, 1<<pairShort-1)), second>>pairShort == 0
	default:
		w, ok = Witness(first<<pairLong|min(second, 1<<pairLong-1)), second>>pairLong == 0
	}
	return w, ok
}

// Split returns the parts of a Pair.
func (w Witness) Split() (first, second uint64) {
	bits := pairLong
	if w&pairLarge != 0 {
		bits, w = pairShort, w&^pairLarge
	}
	return uint64(w >> bits), uint64(w & (1<<bits - 1))
}

// Entry is one entry of a source.
type Entry struct {
	Number  uint64
	Witness Witness
}

// End is the point of the stream behind the entry.
func (e Entry) End() wire.Point {
	return wire.Point{Offset: start(e.Number + 1), Tail: wire.Hash(e.Witness)}
}

// Sequence is a source's stream of the log, and what the log has of it. It is used by one
// goroutine.
type Sequence struct {
	out     wire.Appender
	stream  wire.Batch // what all its batches have in common
	offset  int64      // the log has everything before it
	witness Witness    // of the latest entry that the log has
	trail   []wire.Point
}

// New returns the sequence of a source. stream has what its batches have in common: Kind,
// Stream, Input, Agent, Host, Source and Identity, which is the source by default. Open it
// before anything else.
func New(out wire.Appender, stream wire.Batch) *Sequence {
	stream.Epoch = 1
	if stream.Identity == nil {
		stream.Identity = []byte(stream.Source)
	}
	return &Sequence{out: out, stream: stream}
}

// ID is the log's id of the source's stream.
func (s *Sequence) ID() wire.StreamID { return s.stream.Stream }

// Owner is the owner of the source's stream.
func (s *Sequence) Owner() string { return s.stream.Agent }

// Open asks the log how much it has.
func (s *Sequence) Open(ctx context.Context) error {
	err := s.out.Append(ctx, s.opening(s.offset))
	var expected *wire.Expected
	if errors.As(err, &expected) && expected.Known {
		s.Adopt(expected.Watermark)
		return nil
	}
	return err
}

// Adopt makes w what the log has, as a collector has told.
func (s *Sequence) Adopt(w wire.Watermark) {
	s.stream.Epoch, s.offset, s.witness, s.trail = max(w.Epoch, 1), w.Offset, Witness(w.Tail), w.Trail
}

// Watermark is what the log has, as far as is known.
func (s *Sequence) Watermark() wire.Watermark {
	return wire.Watermark{Epoch: s.stream.Epoch, Point: wire.Point{Offset: s.offset, Tail: wire.Hash(s.witness)}}
}

// opening is the batch that opens the stream at an offset.
func (s *Sequence) opening(at int64) wire.Batch {
	b := s.stream
	b.Op, b.Offset, b.End = wire.OpOpen, at, at
	b.Before, b.After = wire.Hash(s.witness), wire.Hash(s.witness)
	return b
}

// start is the offset where an entry begins.
func start(number uint64) int64 { return int64(number) << chunkBits }

// Last is the number of the last entry that the log has completely; 0 if there is none.
func (s *Sequence) Last() uint64 { return uint64(max(s.offset>>chunkBits, 1)) - 1 }

// Partial reports whether the log has a part of the entry behind Last: its Witness is then
// that of this entry.
func (s *Sequence) Partial() bool { return s.offset&(1<<chunkBits-1) != 0 }

// Witness is that of the latest entry that the log has, or has a part of.
func (s *Sequence) Witness() Witness { return s.witness }

// Offset is the point up to which the log has the stream, see Chunks.
func (s *Sequence) Offset() int64 { return s.offset }

// Trail is a few earlier entries of this epoch, the oldest first, that the log has, as it was
// when it was asked.
func (s *Sequence) Trail() (all []Entry) {
	for _, p := range s.trail {
		all = append(all, Entry{Number: uint64(max(p.Offset>>chunkBits, 1)) - 1, Witness: Witness(p.Tail)})
	}
	return all
}

// State is how an entry relates to what the log has.
type State int

// The states of an entry.
const (
	Missing  State = iota // the log does not have all of it
	Repeated              // the log has it
	Reused                // the log has another entry with its number: the source lost its end, see Restart
)

// State compares an entry with what the log has.
func (s *Sequence) State(e Entry) State {
	switch {
	case start(e.Number) >= s.offset:
		return Missing
	case e.Witness > s.witness:
		return Reused
	case start(e.Number+1) <= s.offset:
		return Repeated
	}
	return Missing // in part
}

// Number numbers an entry of a source whose entries have nothing but a witness, each a larger
// one than the entry before. repeated reports that the log has it.
func (s *Sequence) Number(w Witness) (e Entry, repeated bool) {
	partial := s.Partial()
	e = Entry{Number: uint64(s.offset >> chunkBits), Witness: w}
	switch {
	case s.offset > 0 && (w < s.witness || w == s.witness && !partial):
		return e, true
	case w > s.witness && partial:
		e.Number++ // the rest of the partial entry is gone
	}
	return e, false
}

// Restart begins a new epoch at an entry whose number is reused.
func (s *Sequence) Restart(ctx context.Context, e Entry) error {
	return s.Rewind(ctx, e.Number, s.witness)
}

// Rewind begins a new epoch. The log has all entries before the number, the last of which has
// the witness; entries behind it may have the witnesses of others that the log has.
func (s *Sequence) Rewind(ctx context.Context, number uint64, last Witness) error {
	b := s.opening(start(number))
	b.Epoch++
	b.Before, b.After = wire.Hash(last), wire.Hash(last)
	if err := s.out.Append(ctx, b); err != nil {
		return err
	}
	s.stream.Epoch, s.offset, s.witness = b.Epoch, b.Offset, last
	return nil
}

// SkipTo commits that the entries before the number will never be sent.
func (s *Sequence) SkipTo(ctx context.Context, number uint64, reason string) error {
	return s.skip(ctx, wire.Point{Offset: start(number), Tail: wire.Hash(s.witness)}, reason)
}

// SkipToPoint commits that what is before p will not be sent again.
func (s *Sequence) SkipToPoint(ctx context.Context, p wire.Point, reason string) error {
	p.Tail = max(p.Tail, wire.Hash(s.witness))
	return s.skip(ctx, p, reason)
}

func (s *Sequence) skip(ctx context.Context, to wire.Point, reason string) error {
	if to.Offset <= s.offset {
		return nil
	}
	b := s.opening(s.offset)
	b.Op, b.End, b.After, b.Reason = wire.OpSkip, to.Offset, to.Tail, reason
	b.Source, b.Identity, b.Time = "", nil, time.Now().UnixMicro()
	if err := s.out.Append(ctx, b); err != nil {
		return err
	}
	s.offset, s.witness = b.End, Witness(b.After)
	return nil
}

// Chunks divides the text of an entry, whole lines, into chunks that need no cut, each with
// the point of the stream behind it. It leaves out the chunks that the log has, and those
// before the offset from, which are about to be appended.
func (s *Sequence) Chunks(e Entry, text []byte, from int64) iter.Seq2[[]byte, wire.Point] {
	e.Witness = max(s.witness, e.Witness)
	return e.Chunks(text, max(from, s.offset))
}

// Lines is Chunks with each line as a chunk of its own, so that a batch may be smaller than a
// chunk. An entry has at most MaxLines.
func (s *Sequence) Lines(e Entry, text []byte, from int64) iter.Seq2[[]byte, wire.Point] {
	e.Witness = max(s.witness, e.Witness)
	return e.divide(text, max(from, s.offset), bytes.Lines(text))
}

// MaxLines is how many lines Lines divides.
const MaxLines = 1<<chunkBits - 1

// Chunks divides the text of an entry, whole lines, into chunks that need no cut, each with
// the point of the stream behind it, but for those before the offset from. The same text is
// always divided in the same way.
func (e Entry) Chunks(text []byte, from int64) iter.Seq2[[]byte, wire.Point] {
	return e.divide(text, from, lines.Chunks(text))
}

// divide gives each chunk of text its point.
func (e Entry) divide(text []byte, from int64, chunks iter.Seq[[]byte]) iter.Seq2[[]byte, wire.Point] {
	return func(yield func([]byte, wire.Point) bool) {
		at := start(e.Number)
		for chunk := range chunks {
			at++
			end := at
			if text = text[len(chunk):]; len(text) == 0 {
				end = start(e.Number + 1)
			}
			if at > from && !yield(chunk, wire.Point{Offset: end, Tail: wire.Hash(e.Witness)}) {
				return
			}
		}
	}
}

// Append commits the text, cuts, marks and extensions of b; the stream is then at end. If the error is
// none of those that decide the outcome, the same b may be appended again.
func (s *Sequence) Append(ctx context.Context, b *wire.Batch, end wire.Point) error {
	next := s.stream
	next.Source, next.Identity = "", nil // the marks have the sources
	next.Offset, next.Before = s.offset, wire.Hash(s.witness)
	next.End, next.After = end.Offset, max(end.Tail, wire.Hash(s.witness))
	next.Time, next.Text, next.Cuts, next.Marks = cmp.Or(b.Time, time.Now().UnixMicro()), b.Text, b.Cuts, b.Marks
	next.Extensions, next.Joined = b.Extensions, b.Joined
	err := s.out.Append(ctx, next)
	if err == nil {
		s.offset, s.witness = next.End, Witness(next.After)
	}
	return err
}
