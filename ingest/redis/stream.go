package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"fanin/ingest/key"
	"fanin/internal/counters"
	"fanin/internal/redisconn"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// streamReader reads the entries of a stream, each exactly once and in the stream's order.
//
// The log itself says which entries it has: their ids are the witnesses of a sequence. So a
// reader without a group keeps nothing on the server, and a restart continues behind the last
// id in the log. With a group, the server keeps what it delivered until it is acknowledged; at
// the beginning of a session that comes again, and what the log has is recognised by its id.
//
// Numbers of entries are those of the server's own count, where it has one: the first entry
// that was ever added has the number 1. So a number that is missing is an entry that was
// removed before it was read, see settle.
type streamReader struct {
	n      *Input
	counts *counters.Input
	stream string // its key
	source string

	conn     *redisconn.Conn
	sequence *sequence.Sequence
	from     int64 // the log had the stream up to this offset when the session began
	position position
	requests requests
	server   serverCount

	large         streamID // the latest one in the log of those that do not fit into a witness
	line, json    []byte   // of the entry at hand
	block, spare  *block
	flying        *block // it is being committed; nil: none is
	outcome       chan error
	acknowledging []streamID // entries whose acknowledgement is to be sent
	claims        key.Requests
	told          told
}

// position is how far the stream was read.
type position struct {
	last    streamID // the latest entry that was read
	number  uint64   // its number; with counted, it is the server's
	partial bool     // the log has a part of it, and it is to be read again
}

// told is what the log was told beside lines.
type told struct {
	rewound time.Time // when the latest position was
	lost    streamID  // losses up to this entry were
}

// counted is a bit of the numbers that are the server's. The other numbers begin at 1 in the
// log, because the server does not count, or several consumers share the entries.
const counted = 1 << 46

// newStreamReader returns the reader of a stream. A stream is called by the database and the
// key, not by the address of its server: another server has it after a failover.
func newStreamReader(n *Input, stream string) *streamReader {
	return &streamReader{n: n, stream: stream, source: sourceOf(stream), claims: key.Requests{Log: n.Out},
		counts: n.Inputs.New("redis-stream", counters.Sequence), block: new(block), spare: new(block),
		outcome: make(chan error, 1), requests: requests{count: firstCount, most: mostCount}}
}

func (s *streamReader) part() string { return "stream " + s.stream }

func (s *streamReader) key() string { return s.stream }

// newSequence is the log's stream of the entries.
func (s *streamReader) newSequence() *sequence.Sequence {
	id := wire.KeyID("entries of a Redis stream", []byte(strconv.Itoa(s.n.Client.Login.DB())), []byte(s.n.Streams.Name),
		[]byte(s.stream))
	agent := "redis:" + s.source
	return sequence.New(s.n.Out, wire.Batch{Kind: wire.StreamRedis, Stream: id,
		Input: s.counts.Name(), Agent: agent[:min(len(agent), wire.MaxName)], Host: s.n.Lines.Host,
		Source: s.source})
}

// run reads entries until something goes wrong.
func (s *streamReader) run(ctx context.Context, conn *redisconn.Conn, up func()) error {
	if s.conn = conn; s.n.Streams.Group != "" {
		conn.DropUnsent() // see takePending
	}
	for {
		err := s.session(ctx, up)
		if redisconn.Classify(err) == redisconn.Malformed {
			s.requests.fewer() // perhaps there were too many elements in a reply
		}
		if !errors.Is(err, errAgain) {
			return err
		}
		for conn.Pending() > 0 { // what was asked for comes again
			_, err := conn.Receive(ctx, s.n.wait)
			if err != nil && !errors.As(err, new(*redisconn.ServerError)) {
				return err
			}
		}
	}
}

// errAgain ends a session: another one begins at once.
var errAgain = errors.New("begin again")

// session finds out how much the log has, and reads on from there.
func (s *streamReader) session(ctx context.Context, up func()) error {
	if err := s.prepare(ctx, up); err != nil {
		return err
	}
	up()
	err := s.read(ctx)
	committed := s.awaitCommit()
	s.block.reset(s.n.Budget)
	return errors.Join(err, committed)
}

// resume sets the position to what the log has.
func (s *streamReader) resume(ctx context.Context) error {
	s.sequence = s.newSequence() // a new one learns the trail
	if err := s.sequence.Open(s.n.life.Appending); err != nil {
		return fmt.Errorf("ask the log how much it has of the stream: %w", err)
	}
	s.from = s.sequence.Offset()
	s.position = position{s.latest(), s.sequence.Last(), s.sequence.Partial()}
	s.acknowledging = s.acknowledging[:0]
	return ctx.Err()
}

// begin is the id behind which reading begins.
func (p *position) begin() streamID {
	if p.partial {
		return p.last.before()
	}
	return p.last
}

// fresh reports whether the log has nothing of the stream.
func (p *position) fresh() bool { return p.last == streamID{} && p.number&^counted == 0 }

// read reads entries until ctx ends, or something goes wrong. While it makes lines of a reply,
// the server prepares the next one, and the block before is committed.
func (s *streamReader) read(ctx context.Context) error {
	if err := s.again(ctx); err != nil {
		return err
	}
	for {
		entries, err := s.receive(ctx)
		if err != nil {
			return err
		}
		n := entries.Len()
		switch {
		case s.conn.Overflowed() && n > 1:
			s.requests.fewer()
			if err = s.flush(ctx); err == nil {
				err = s.again(ctx)
			}
		case n == 0:
			err = s.idle(ctx)
		default:
			id, ok := parseID(entries.At(n - 1).At(0).Bytes())
			if !ok {
				return malformed(entries)
			}
			s.requests.cursor = id
			err = s.goOn(ctx, entries)
		}
		if err != nil {
			return err
		}
	}
}

// goOn processes the entries of a reply while the server prepares the next one, unless entries
// are to be searched for among the pending ones: no other request may be under way then.
func (s *streamReader) goOn(ctx context.Context, entries redisconn.Value) error {
	search := s.requests.search
	if !search {
		if err := s.ask(ctx, false); err != nil {
			return err
		}
	}
	if err := s.take(ctx, entries); err != nil || !search {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	return s.again(ctx)
}

// again asks for what is behind the position; with a group, what was delivered and not
// acknowledged comes first.
func (s *streamReader) again(ctx context.Context) error {
	if s.n.Streams.Group != "" {
		if err := s.warnStranded(ctx); err != nil {
			return err
		}
		if err := s.takePending(ctx); err != nil {
			return err
		}
	}
	s.requests.cursor = s.position.begin()
	return s.ask(ctx, false)
}

func malformed(entries redisconn.Value) error {
	last := entries.At(entries.Len() - 1)
	return &redisconn.ProtocolError{Text: fmt.Sprintf("%.40q is no entry of a stream", last.String())}
}

// idle commits what was read, since no more entries are there, and waits for some.
func (s *streamReader) idle(ctx context.Context) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if s.n.Streams.Group != "" && (s.requests.search || time.Since(s.requests.pendingAt) > 30*s.n.wait) {
		return s.again(ctx) // some may have been claimed for this consumer
	}
	return s.ask(ctx, true)
}

// take processes the entries of a reply.
func (s *streamReader) take(ctx context.Context, entries redisconn.Value) error {
	size := 0
	for _, e := range entries.All() {
		id, ok := parseID(e.At(0).Bytes())
		if !ok {
			return malformed(entries)
		}
		if s.server.passed(id) {
			if err := s.settle(ctx); err != nil {
				return err
			}
		}
		if err := s.entry(ctx, id, e.At(1)); err != nil {
			return err
		}
		size += len(s.line)
	}
	s.n.Metrics.messages["stream"].Add(float64(entries.Len()))
	s.requests.adapt(entries.Len(), size)
	if s.flying != nil && len(s.outcome) == 0 || s.block.Empty() && len(s.block.done) < mostAcks {
		return nil
	}
	return s.handOver(ctx)
}

// entry processes one entry.
func (s *streamReader) entry(ctx context.Context, id streamID, fields redisconn.Value) error {
	s.line = s.line[:0]
	p := &s.position
	resumed := p.partial && id == p.last
	if id.compare(p.last) <= 0 && !resumed {
		s.n.Metrics.repeats.Inc()
		s.done(id)
		return nil
	}
	witness, _ := id.witness()
	p.number++
	if p.partial && !resumed {
		p.number++
		s.lose(&s.block.losses.removed, p.last) // the rest of it
	}
	p.last, p.partial = id, false
	if err := s.addLines(ctx, sequence.Entry{Number: p.number, Witness: witness}, id, fields); err != nil {
		return err
	}
	s.done(id)
	return nil
}

// addLines adds the lines of an entry to the block.
func (s *streamReader) addLines(ctx context.Context, e sequence.Entry, id streamID, fields redisconn.Value) error {
	if fields.IsNull() {
		s.lose(&s.block.losses.removed, id)
		s.cover(e, id)
		return nil
	}
	t := s.text(fields)
	if t.tooLarge {
		s.lose(&s.block.losses.tooLarge, id)
	}
	if t.whole {
		s.n.Metrics.withoutField.Inc()
	}
	if len(t.text) == 0 {
		if !t.tooLarge {
			s.n.Metrics.empty.Inc()
		}
		s.cover(e, id)
		return nil
	}
	if isLine(t.text) {
		return s.addChunk(ctx, t.text, e.End())
	}
	for chunk, end := range e.Chunks(t.text, s.from) {
		if err := s.addChunk(ctx, chunk, end); err != nil {
			return err
		}
	}
	return nil
}

// isLine reports whether text is one line that needs no cut. Most entries are.
func isLine(text []byte) bool {
	return len(text) <= wire.MaxCutText && bytes.IndexByte(text, '\n') == len(text)-1
}

// addChunk adds whole lines that need no cut to the block.
func (s *streamReader) addChunk(ctx context.Context, text []byte, end wire.Point) error {
	_, fits := s.position.last.witness()
	if !s.block.Fits(len(text)) || (!fits || s.block.large) && !s.block.Whole(text) {
		if err := s.handOver(ctx); err != nil {
			return err
		}
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	s.block.Add("", text, end)
	s.block.last, s.block.large = s.position.last, s.block.large || !fits
	return nil
}

// done notes that an entry needs nothing more than its block's commit.
func (s *streamReader) done(id streamID) {
	if s.n.Streams.Group != "" {
		s.block.done = append(s.block.done, id)
	}
}

// handOver has the block committed, when the one before it is.
func (s *streamReader) handOver(ctx context.Context) error {
	if err := s.awaitCommit(); err != nil {
		return err
	}
	b := s.block
	s.flying, s.block = b, s.spare
	s.reportLosses(&b.losses) // before the commit: a kill between them has it reported twice, not never
	if b.Empty() {
		s.outcome <- s.remember()
		return s.awaitCommit()
	}
	go func() { s.outcome <- s.commit(b) }() // ends with the commit, which awaitCommit waits for
	return ctx.Err()
}

// awaitCommit waits until no block is being committed, and returns the outcome of the last
// one.
func (s *streamReader) awaitCommit() error {
	b := s.flying
	if b == nil {
		return nil
	}
	err := <-s.outcome
	if err == nil {
		if b.large {
			s.large = b.last
		}
		s.acknowledging = append(s.acknowledging, b.done...)
	}
	b.reset(s.n.Budget)
	s.flying, s.spare = nil, b
	return err
}

// cover makes an entry without lines a part of the block, if that has lines.
func (s *streamReader) cover(e sequence.Entry, id streamID) {
	if _, fits := id.witness(); fits && !s.block.Empty() && !s.block.large {
		s.block.End = e.End()
	}
}

// flush commits all that was read. Entries without lines have their numbers remembered once a
// second at most; until then they are not acknowledged.
func (s *streamReader) flush(ctx context.Context) error {
	if s.block.Empty() && time.Since(s.told.rewound) < s.n.wait/2 && s.block.losses == (entryLosses{}) {
		return s.awaitCommit()
	}
	if err := s.handOver(ctx); err != nil {
		return err
	}
	return s.awaitCommit()
}

// commit commits the lines of a block, and releases their memory at once, so that no other
// reader waits for this one to get it.
func (s *streamReader) commit(b *block) error {
	if b.large {
		b.Extensions = []wire.Extension{s.largeID(b)}
	}
	known, err := s.n.untilDecided(s.part(), func() error {
		return s.sequence.Append(s.n.life.Appending, &b.Batch, b.End)
	})
	if known {
		s.counts.Received(b.Lines, len(b.Text))
	}
	b.release(s.n.Budget)
	return err
}

// remember has the log remember the numbers of entries without lines, in a block that has none:
// they would seem to be missing if they are not there when the log is asked the next time.
func (s *streamReader) remember() error {
	p := &s.position
	if _, fits := p.last.witness(); !fits || p.partial || p.last == (streamID{}) || p.number <= s.sequence.Last() {
		return nil
	}
	return s.rewind()
}

// rewind has the log take the position for its own, in a new epoch.
func (s *streamReader) rewind() error {
	witness, _ := s.position.last.witness()
	_, err := s.n.untilDecided(s.part(), func() error {
		return s.sequence.Rewind(s.n.life.Appending, s.position.number+1, witness)
	})
	s.from, s.told.rewound = s.sequence.Offset(), time.Now()
	if s.position.last.compare(s.told.lost) < 0 {
		s.told.lost = s.position.last
	}
	return err
}
