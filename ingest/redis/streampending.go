package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"fanin/ingest/key"
	"fanin/internal/lines"
	"fanin/internal/redisconn"
	"fanin/internal/wire"
)

// pendingEntry is an entry that a group delivered to this consumer, which did not acknowledge
// it.
type pendingEntry struct {
	id streamID
	// claimed: it was delivered to another consumer, and then claimed for this one. Claiming counts
	// as another delivery, and nothing else does: what is pending is read by its id, not
	// delivered again. (JUSTID of XCLAIM does not count.)
	claimed bool
	// late: it was delivered after later entries were read, see takePending.
	late bool
}

// mostPending is how many pending entries are asked for at a time.
const mostPending = 100

// takePending processes the entries that this consumer did not acknowledge. When a session begins,
// the log has those up to the position, except those that were claimed: wherever they are, they
// are committed under keys of their own.
//
// Later in a session, each entry up to the position that came to it was acknowledged. One that is
// still pending was delivered to a request that nothing reads the reply of: a network held it
// back until its connection was long closed here. Such an entry, too, is committed under its key.
// (Connections that read with a group drop what they have not sent when they end, so such a
// request can only come from the network itself, and within moments of a break.)
func (s *streamReader) takePending(ctx context.Context) error {
	begins := s.requests.pendingAt.IsZero()
	s.requests.pendingAt, s.requests.search = time.Now(), false
	if err := s.acknowledge(ctx); err != nil {
		return err
	}
	mark, late := s.position, uint64(0)
	for from := (streamID{}); ; {
		page, err := s.askPending(ctx, from)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return s.rememberLate(ctx, late)
		}
		for i := range page {
			e := &page[i]
			if e.late = !begins && !e.claimed && e.id.compare(mark.last) <= 0; e.late {
				late++
			}
			s.conn.Command("XRANGE", s.stream, e.id.String(), e.id.String())
		}
		if err := s.conn.Send(ctx); err != nil {
			return err
		}
		for _, e := range page {
			v, err := s.conn.Receive(ctx, 0)
			if err == nil {
				err = s.pendingEntry(ctx, &mark, e, v.At(0).At(1))
			}
			if err != nil {
				return err
			}
		}
		if err := s.acknowledge(ctx); err != nil {
			return err
		}
		from = page[len(page)-1].id.next()
	}
}

// acknowledge acknowledges what was committed, and waits until the server has done it.
func (s *streamReader) acknowledge(ctx context.Context) error {
	if s.sendAcks(); s.requests.acks == 0 {
		return nil
	}
	return errors.Join(s.conn.Send(ctx), s.receiveAcks(ctx))
}

// rememberLate has the log remember that n entries before the position came late: they are among
// those that the server counts.
func (s *streamReader) rememberLate(ctx context.Context, n uint64) error {
	if n == 0 {
		return nil
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	s.position.number += n
	return s.remember()
}

// askPending asks for entries that are pending, from an id on.
//
//	XPENDING key group from + n consumer    ->  of each: id, consumer, idle time, deliveries
func (s *streamReader) askPending(ctx context.Context, from streamID) (page []pendingEntry, err error) {
	o := &s.n.Streams
	v, err := s.conn.Do(ctx, "XPENDING", s.stream, o.Group, from.String(), "+",
		strconv.Itoa(min(mostPending, s.requests.count)), o.Consumer)
	for _, e := range v.All() {
		id, ok1 := parseID(e.At(0).Bytes())
		deliveries, ok2 := e.At(3).Int()
		if !ok1 || !ok2 || id.compare(from) < 0 {
			return nil, &redisconn.ProtocolError{Text: "the reply to XPENDING has no id, or no number of deliveries"}
		}
		page, from = append(page, pendingEntry{id: id, claimed: deliveries > 1}), id.next()
	}
	return page, err
}

// pendingEntry processes one entry that is pending.
func (s *streamReader) pendingEntry(ctx context.Context, mark *position, e pendingEntry, fields redisconn.Value) error {
	order := e.id.compare(mark.last)
	switch {
	case e.claimed || e.late:
		if e.late {
			s.n.Log.Info("an entry of a Redis stream was delivered to a connection that is closed; it is committed "+
				"behind later ones", "stream", s.stream, "id", e.id)
		}
		s.n.Metrics.messages["stream"].Inc()
		if err := s.takeClaimed(e.id, fields); err != nil {
			return errors.Join(err, ctx.Err())
		}
	case order > 0 || order == 0 && mark.partial:
		s.n.Metrics.messages["stream"].Inc()
		return s.entry(ctx, e.id, fields)
	default:
		s.n.Metrics.repeats.Inc()
	}
	s.acknowledging = append(s.acknowledging, e.id)
	return nil
}

// takeClaimed commits an entry that was claimed for this consumer, and may be before what the log
// has. It is no part of the sequence: its id is the key that tells whether the log has it.
func (s *streamReader) takeClaimed(id streamID, fields redisconn.Value) error {
	losses := entryLosses{first: id}
	t := entryText{}
	if fields.IsNull() {
		losses.removed++
	} else if t = s.text(fields); t.tooLarge {
		losses.tooLarge++
	}
	if len(t.text) > 0 {
		request := key.Request{Kind: "redis entry", PerContent: true,
			Key: []byte(s.sequence.ID().String() + " " + id.String()),
			Batches: batchesOf(wire.Batch{Input: s.counts.Name(), Host: s.n.Lines.Host, Source: s.source,
				Time: time.Now().UnixMicro()}, t.text)}
		var outcome key.Outcome
		known, err := s.n.untilDecided(s.part(), func() (err error) {
			outcome, err = s.claims.Append(s.n.life.Appending, request)
			return err
		})
		if known {
			s.counts.Received(lines.Count(t.text), len(t.text))
		}
		if err != nil {
			return err
		}
		if outcome.Repeat {
			s.n.Metrics.repeats.Inc()
		}
	}
	s.reportLosses(&losses)
	return nil
}

// warnStranded warns of entries that were delivered to consumers which are away.
func (s *streamReader) warnStranded(ctx context.Context) error {
	o := &s.n.Streams
	v, err := s.conn.Do(ctx, "XINFO", "CONSUMERS", s.stream, o.Group)
	if redisconn.Classify(err) == redisconn.NoPermission {
		return nil
	}
	for _, c := range v.All() {
		pending, _ := c.Get("pending").Int()
		idle, _ := c.Get("idle").Int()
		name := c.Get("name").String()
		if pending == 0 || name == o.Consumer || idle < (30*s.n.wait).Milliseconds() {
			continue
		}
		s.n.limited.Warn("redis_stranded "+s.stream, "another consumer of the group has entries of a Redis stream, "+
			"and does not acknowledge them", "stream", s.stream, "consumer", name, "entries", pending, "idle_ms", idle,
			"remedy", "start it, or hand them to this one: XAUTOCLAIM "+s.stream+" "+o.Group+" "+o.Consumer+" 60000 0")
	}
	return err
}
