package nats

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/natsconn"
	"fanin/internal/retry"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// process commits a group of messages, in their order, and acknowledges them. It returns when all
// are committed, or when waiting any longer is pointless.
func (s *streamReader) process(group []message) error {
	if len(group) == 0 {
		return nil
	}
	if err := s.mayCommit(); err != nil {
		return err
	}
	s.discarded.clear() // of a group that failed, and is read again
	plain, chains, err := s.divide(group)
	s.moves(plain, chains)
	var all sync.WaitGroup
	for _, c := range chains {
		all.Go(func() { c.err = s.appendBatches(c) }) // waited for below
	}
	err = errors.Join(err, s.appendPlain(plain))
	all.Wait()
	for _, c := range chains {
		err = errors.Join(err, c.err)
	}
	if err == nil {
		err = s.committed(group, chains)
	}
	if err != nil {
		return err
	}
	s.reportDiscarded()
	for i := range group {
		m := &group[i]
		if e, done := m.entry(), &s.position.done; e.Number > done.Number || e.Witness > done.Witness {
			*done = e
		}
		if m.ack != nil {
			m.ack() // if it is lost, the message comes again and is recognised
		}
	}
	return nil
}

// divide divides a group into plain messages and agents' batches, without what was processed
// before.
func (s *streamReader) divide(group []message) (plain []message, chains map[wire.StreamID]*chain, err error) {
	chains = make(map[wire.StreamID]*chain)
	for i := range group {
		m := &group[i]
		switch {
		case s.position.covers(m):
			s.n.Metrics.repeats.Inc()
		case s.n.Agents.Subjects.IsBatch(m.subject):
			if invalid := s.link(chains, *m); invalid != nil {
				s.n.reject("protocol", "a message on an agent's subject of a stream is not an agent's batch",
					"stream", s.n.Stream.Name, "seq", m.seq, "subject", m.subject, "error", invalid)
				refused := &Refused{Agent: natsconn.AgentOf(m.subject), Reason: invalid.Error()}
				err = cmp.Or(err, s.storeRefused(m, refused))
			}
		default:
			plain = append(plain, *m)
		}
	}
	return plain, chains, err
}

// untilDecided repeats an Append until its outcome is decided, which it returns. If the input
// ends first, the message stays in the stream, and known is false.
func (s *streamReader) untilDecided(attempt func() error) (known bool, outcome error) {
	backoff := retry.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := attempt()
		if ingest.Decided(err) {
			return true, err
		}
		s.n.limited.Warn("nats_stream", "messages of a stream wait to be committed",
			"stream", s.n.Stream.Name, "error", err)
		if backoff.Wait(s.n.life.Receiving) != nil {
			return false, fmt.Errorf("not committed, and left in the stream: %w", err)
		}
	}
}

// appendPlain commits messages of plain lines.
func (s *streamReader) appendPlain(messages []message) error {
	for i := range messages {
		m := &messages[i]
		s.n.Metrics.messages.Inc()
		switch s.sequence.State(m.entry()) {
		case sequence.Repeated:
			s.n.Metrics.repeats.Inc()
			continue
		case sequence.Reused:
			if err := s.restart(m); err != nil {
				return err
			}
		}
		if err := s.addPlain(m); err != nil {
			return err
		}
	}
	return s.appendBatch()
}

// restart begins a new epoch: the server lost the end of the stream and assigned a number again.
func (s *streamReader) restart(m *message) error {
	name, last := s.n.Stream.Name, s.sequence.Last()
	s.n.Log.Warn("the NATS server lost the end of the stream and assigns its numbers again; "+
		"messages that were not read are lost", "stream", name, "seq", m.seq, "committed_until", last)
	s.n.Notice("NOTE stream=%s: the NATS server lost the end of its stream and assigns its numbers again, from %d on; "+
		"messages that were not read are lost", name, m.seq)
	_, err := s.untilDecided(func() error { return s.sequence.Restart(s.n.life.Appending, m.entry()) })
	return err
}

// addPlain adds a message's lines to the batch, except for chunks that a crash in its middle left
// in the log.
func (s *streamReader) addPlain(m *message) error {
	if s.n.isOwn(m.subject) {
		return nil
	}
	text := s.n.text(m.data)
	if text == nil {
		s.n.Metrics.empty.Inc()
		return nil
	}
	if p := s.n.partition(); p != nil && p.rebuilds && s.batch.Empty() {
		s.batch.Time = m.time.UnixMicro() // the lines were read at about that time
	}
	for chunk, end := range s.sequence.Chunks(m.entry(), text, s.batch.End.Offset) {
		if !s.batch.Fits(len(chunk)) {
			if err := s.appendBatch(); err != nil {
				return err
			}
		}
		s.batch.Add(sourceOf(m.subject), chunk, end)
	}
	return nil
}

// appendBatch commits the batch of plain lines.
func (s *streamReader) appendBatch() error {
	defer s.batch.Reset()
	if s.batch.Empty() {
		return nil
	}
	known, err := s.untilDecided(func() error {
		return s.sequence.Append(s.n.life.Appending, &s.batch.Batch, s.batch.End)
	})
	if known {
		s.n.lines.plain.Received(s.batch.Lines, len(s.batch.Text))
	}
	return err
}
