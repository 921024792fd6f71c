package redis

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"fanin/internal/redisconn"
)

// requests is what is asked of the server. One request for entries is under way at any time.
// Before it go acknowledgements, and a question for the server's counts now and then.
type requests struct {
	count  int      // entries to ask for
	most   int      // of them, since a reply was too large
	calm   int      // replies since then, see adapt
	cursor streamID // without a group: behind this id
	acks   int      // commands XACK whose replies are to come
	info   bool     // the reply to a question comes before the entries
	wait   time.Duration
	infoAt time.Time // when the next question is to be asked

	pendingAt time.Time // when it was asked for pending entries; zero: not in this session
	search    bool      // entries are missing, and may be among the pending ones
}

const (
	firstCount = 64
	mostCount  = 4096    // a reply of so many entries needs some 600 KiB besides its text
	wantText   = 1 << 20 // bytes of text in a reply
	mostAcks   = 1000    // ids in one XACK
)

// begin begins a session. What was learned of the size of entries stays.
func (r *requests) begin() {
	*r = requests{count: r.count, most: r.most, calm: r.calm, infoAt: r.infoAt}
}

// fewer asks for fewer entries: a reply was too large.
func (r *requests) fewer() {
	r.most, r.calm = max(r.count/2, 1), 0
	r.count = max(r.count/4, 1)
}

// adapt adapts the number of entries to the size of the last ones. After a reply that was too
// large, for which the size may not have been the reason, it becomes larger slowly.
func (r *requests) adapt(entries, size int) {
	if r.calm++; r.calm >= 64 {
		r.most, r.calm = min(2*r.most, mostCount), 0
	}
	if entries < r.count && size < wantText {
		return
	}
	r.count = max(1, min(2*r.count, wantText*entries/max(size, 1), r.most))
}

// pause bounds what questions cost: a reply has the first and the last entry of the stream,
// which may be large. They get 256 KiB in a second, or come once in least.
func (r *requests) pause(bytes int64, least time.Duration) {
	r.infoAt = time.Now().Add(max(least, time.Duration(bytes>>8)*time.Second>>10))
}

// ask sends the acknowledgements that are due, and asks for entries. With block, the server
// waits until there are some.
func (s *streamReader) ask(ctx context.Context, block bool) error {
	r := &s.requests
	s.sendAcks()
	if r.info = time.Until(r.infoAt) <= 0; r.info {
		s.conn.Command("XINFO", "STREAM", s.stream)
		if s.n.Streams.Group != "" {
			s.conn.Command("XINFO", "GROUPS", s.stream)
		}
	}
	r.wait = 0
	if block {
		r.wait = s.n.wait
	}
	s.askEntries()
	return s.conn.Send(ctx)
}

// askEntries appends the command that asks for entries:
//
//	XREAD                          COUNT n [BLOCK ms] STREAMS key id
//	XREADGROUP GROUP name consumer COUNT n [BLOCK ms] STREAMS key >
func (s *streamReader) askEntries() {
	r, o := &s.requests, &s.n.Streams
	parts, grouped := 6, o.Group != ""
	if grouped {
		parts += 3
	}
	if r.wait > 0 {
		parts += 2
	}
	s.conn.Begin(parts)
	if grouped {
		s.conn.Add("XREADGROUP")
		s.conn.Add("GROUP")
		s.conn.Add(o.Group)
		s.conn.Add(o.Consumer)
	} else {
		s.conn.Add("XREAD")
	}
	s.conn.Add("COUNT")
	s.conn.AddInt(int64(r.count))
	if r.wait > 0 {
		s.conn.Add("BLOCK")
		s.conn.AddInt(r.wait.Milliseconds())
	}
	s.conn.Add("STREAMS")
	s.conn.Add(s.stream)
	if grouped {
		s.conn.Add(">")
	} else {
		var id [41]byte
		s.conn.AddBytes(r.cursor.append(id[:0]))
	}
}

// sendAcks appends the acknowledgements of entries that were committed.
func (s *streamReader) sendAcks() {
	var text [41]byte
	for ids := s.acknowledging; len(ids) > 0; s.requests.acks++ {
		some := ids[:min(len(ids), mostAcks)]
		ids = ids[len(some):]
		s.conn.Begin(3 + len(some))
		s.conn.Add("XACK")
		s.conn.Add(s.stream)
		s.conn.Add(s.n.Streams.Group)
		for _, id := range some {
			s.conn.AddBytes(id.append(text[:0]))
		}
	}
	s.acknowledging = s.acknowledging[:0]
}

// receive returns the entries that were asked for. They are valid until the next call.
func (s *streamReader) receive(ctx context.Context) (entries redisconn.Value, err error) {
	r := &s.requests
	if err := s.receiveAcks(ctx); err != nil {
		return entries, err
	}
	if err := s.receiveInfo(ctx); err != nil {
		return entries, err
	}
	v, err := s.conn.Receive(ctx, r.wait)
	if err != nil {
		return entries, err
	}
	return v.At(0).At(1), nil // of the one stream that was asked for; null: none
}

// receiveAcks receives the replies to acknowledgements.
func (s *streamReader) receiveAcks(ctx context.Context) error {
	for r := &s.requests; r.acks > 0; r.acks-- {
		if _, err := s.conn.Receive(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// receiveInfo receives what was asked about the stream, if it was.
func (s *streamReader) receiveInfo(ctx context.Context) error {
	if !s.requests.info {
		return nil
	}
	v, err := s.conn.Receive(ctx, 0)
	failed := s.noteInfo(v, err)
	if s.n.Streams.Group != "" {
		v, err = s.conn.Receive(ctx, 0)
		failed = cmp.Or(failed, s.noteGroups(v, err))
	}
	return failed
}

// info asks for the server's counts.
func (s *streamReader) info(ctx context.Context) (streamInfo, error) {
	v, err := s.conn.Do(ctx, "XINFO", "STREAM", s.stream)
	if err != nil {
		return streamInfo{}, err
	}
	return parseInfo(v)
}

// has reports whether the server has an entry.
func (s *streamReader) has(ctx context.Context, id streamID) (bool, error) {
	v, err := s.conn.Do(ctx, "XRANGE", s.stream, id.String(), id.String(), "COUNT", strconv.Itoa(1))
	return v.Len() > 0, err
}
