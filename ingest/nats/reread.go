package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
)

// check ensures that no delivery is missing before the last one of the group.
func (s *streamReader) check(ctx context.Context, group []message) error {
	p := &s.position
	for i := range group {
		switch m := &group[i]; {
		case m.delivery < p.next: // made before the last reread, which found the message
		case m.delivery == p.next:
			p.next++
			s.checkNumber(m.seq)
		default:
			if p.gaps++; p.gaps >= manyGaps {
				s.n.limited.Warn("nats_shared", "another process reads messages of this consumer, too; "+
					"what both read is in both logs: give each collector a durable of its own",
					"stream", s.n.Stream.Name, "durable", s.n.Stream.Durable)
			}
			return s.reread(ctx)
		}
	}
	return nil
}

// manyGaps in one session mean that another process reads. Fewer have other reasons: a process
// that died, a delivery that came too late for its fetch.
const manyGaps = 3

// checkNumber reports messages that were gone before they were delivered: they grew too old, or
// were removed. Where a consumer has filters, they cannot be told from the messages that it does
// not want. The count relies on the server's numbers: a server that was killed may have forgotten
// what it delivered. Messages that were delivered to a process that died, and then grew too old,
// are not found.
func (s *streamReader) checkNumber(seq uint64) {
	p := &s.position
	last := max(p.seen, p.done.Number, s.sequence.Last())
	p.seen = max(p.seen, seq)
	if first := p.next == 2; first || !s.complete || seq <= last+1 {
		return
	}
	missed := seq - last - 1
	s.n.Metrics.missed.Add(float64(missed))
	s.n.Log.Error("messages left the stream before they were read", "stream", s.n.Stream.Name, "messages", missed,
		"from", last+1, "to", seq-1, "remedy", "give the stream a longer max_age, or none")
	s.n.Notice("LOST n=%d unit=messages reason=nats-expired stream=%s from=%d to=%d: they grew too old in the stream, "+
		"or were removed; according to the server's numbers", missed, s.n.Stream.Name, last+1, seq-1)
}

// reread reads by number what was delivered and is not acknowledged: it is unknown which process
// has it. Messages that are gone were acknowledged, or are counted as lost.
func (s *streamReader) reread(ctx context.Context) error {
	info, err := s.consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for the position of the consumer %s: %w", s.n.Stream.Durable, err)
	}
	last := info.Delivered.Stream
	s.position.next, s.position.seen = info.Delivered.Consumer+1, last
	if info.NumAckPending == 0 {
		return nil
	}
	var group []message
	size := 0
	for seq := info.AckFloor.Stream + 1; seq <= last; seq++ {
		m, err := s.get(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if err := s.reaches(ctx, last); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
		if seq = m.seq; seq > last {
			break
		}
		if !s.wants(m.subject) {
			continue
		}
		s.n.Metrics.reread.Inc()
		group, size = append(group, m), size+len(m.data)
		if len(group) >= groupMessages || size >= groupBytes {
			if err := s.process(group); err != nil {
				return err
			}
			group, size = nil, 0
		}
	}
	return s.process(group)
}

// reaches checks that the server that reported no more messages knows the stream up to last: a
// server that has just become its leader may not.
func (s *streamReader) reaches(ctx context.Context, last uint64) error {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for the length of the stream %s: %w", s.n.Stream.Name, err)
	}
	p := &s.position
	if p.behind++; info.State.LastSeq < last && p.behind < 5 {
		return fmt.Errorf("the stream %s ends at %d, but its consumer delivered %d: asking again",
			s.n.Stream.Name, info.State.LastSeq, last)
	}
	p.behind = 0 // the stream lost its end, see sequence.Reused
	return nil
}

// storedMessage is the server's answer to a request for one message.
type storedMessage struct {
	Error   *jetstream.APIError `json:"error"`
	Message struct {
		Subject string    `json:"subject"`
		Seq     uint64    `json:"seq"`
		Header  []byte    `json:"hdrs"`
		Data    []byte    `json:"data"`
		Time    time.Time `json:"time"`
	} `json:"message"`
}

// get reads the first message from seq on, from the stream's leader: a follower may not have it
// yet.
func (s *streamReader) get(ctx context.Context, seq uint64) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	failed := func(err error) (message, error) {
		return message{}, fmt.Errorf("read message %d of the stream %s: %w", seq, s.n.Stream.Name, err)
	}
	of := ">"
	if s.n.partition() != nil {
		of = s.filters[0]
	}
	request, err := json.Marshal(map[string]any{"seq": seq, "next_by_subj": of})
	if err != nil {
		return failed(err)
	}
	reply, err := s.n.Conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.n.Stream.Name, request)
	if err != nil {
		return failed(err)
	}
	var r storedMessage
	if err := json.Unmarshal(reply.Data, &r); err != nil {
		return failed(err)
	}
	if r.Error != nil {
		if r.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return message{}, jetstream.ErrMsgNotFound
		}
		return failed(r.Error)
	}
	var header nats.Header
	if len(r.Message.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(r.Message.Header); err != nil {
			header = nil // foreign bytes: no agent waits for an answer
		}
	}
	return message{subject: s.published(r.Message.Subject), answer: answerHeader(header), data: r.Message.Data,
		seq: r.Message.Seq, time: r.Message.Time}, nil
}

// wants reports whether messages of a subject are read.
func (s *streamReader) wants(subject string) bool {
	if s.n.partition() != nil {
		return true // no others were asked for
	}
	for _, filter := range s.filters {
		if natsconn.Overlap(filter, subject) {
			return true
		}
	}
	return false
}
