package redis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"fanin/internal/redisconn"
	"fanin/internal/retry"
)

// prepare finds out how much the log has, and whether the server still has the stream that this
// is of.
func (s *streamReader) prepare(ctx context.Context, up func()) error {
	if err := s.resume(ctx); err != nil {
		return err
	}
	s.server.open = false
	s.requests.begin()
	info, err := s.info(ctx)
	switch {
	case noKey(err):
		err = s.awaitStream(ctx, up)
	case redisconn.Classify(err) == redisconn.NoPermission:
		err = nil // see noteInfo
	case err == nil:
		err = s.compare(ctx, &info)
	}
	if err != nil {
		return err
	}
	if s.n.Streams.Group != "" {
		if err := s.openGroup(ctx); err != nil {
			return err
		}
	}
	s.requests.cursor = s.position.begin()
	if s.position.number < s.sequence.Last() { // the log takes no numbers behind those it has
		return s.rewind()
	}
	return nil
}

// awaitStream waits until there is a stream. A group makes one.
func (s *streamReader) awaitStream(ctx context.Context, up func()) error {
	if !s.position.fresh() && !s.server.absent {
		s.n.Log.Warn("a Redis stream is gone; entries that were not read are lost", "stream", s.stream,
			"committed_until", s.position.last)
		s.n.Notice("NOTE stream=%s: the stream is not on the Redis server any more; entries behind %s that were not "+
			"read are lost", s.source, s.position.last)
		s.n.Metrics.resets.Inc()
	}
	if s.server.absent = s.n.Streams.Group == ""; !s.server.absent {
		s.position = position{number: counted}
		if s.sequence.Offset() == 0 {
			return nil
		}
		return s.rewind()
	}
	up()
	for {
		if _, err := s.info(ctx); err == nil {
			return errAgain
		} else if !noKey(err) {
			return err
		}
		if err := retry.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// compare compares the stream on the server with what the log has.
func (s *streamReader) compare(ctx context.Context, info *streamInfo) error {
	p, c := &s.position, &s.server
	fewer := info.counts && p.number&counted != 0 && p.number&^counted > info.added
	switch {
	case p.fresh():
		if info.counts {
			p.number = counted | (info.added - info.length)
			if c.absent {
				p.number = counted // it was seen to begin
			}
		}
	case c.suspect || c.absent || fewer || info.last.compare(p.last) < 0:
		if err := s.recognize(ctx, info); err != nil {
			return err
		}
	}
	c.suspect, c.absent = false, false
	return nil
}

// recognize decides where to continue in a stream that is not as it was: the server lost its
// end, as after a failover, or it is another stream under the same key.
func (s *streamReader) recognize(ctx context.Context, info *streamInfo) error {
	p := &s.position
	there, err := s.has(ctx, p.last)
	if err != nil {
		return err
	}
	same := there
	if !there {
		if same, err = s.isSame(ctx, info); err != nil {
			return err
		}
	}
	switch {
	case there: // it was read beyond the end that was lost, before that was noticed; or see XSETID
		s.reportReset("counts fewer entries of its stream than were read: it lost some", info)
		p.number = 0
	case same:
		unsure, err := s.unsure(ctx, info)
		if err != nil {
			return err
		}
		s.reportReset("lost the end of its stream"+unsure, info)
		if info.last.compare(p.last) < 0 {
			p.last = info.last
		}
		p.number, p.partial = 0, false
	default:
		s.reportReset("has another stream under this key, which is read from its beginning", info)
		*p = position{}
		if info.counts {
			p.number = counted | (info.added - info.length)
		}
	}
	return s.rewind()
}

// mostUnsure is how many entries are counted that may not be in the log.
const mostUnsure = 10_000

// unsure counts the entries that may be new, although their ids are not behind the log's, and says
// so; "": there are none. After a failover, a server whose clock is behind gives such ids. The
// log surely has those up to the latest one that it remembers and that is there.
func (s *streamReader) unsure(ctx context.Context, info *streamInfo) (text string, err error) {
	var from streamID
	for _, e := range slices.Backward(s.sequence.Trail()) {
		id := idOf(e.Witness)
		if id.compare(info.last) > 0 || id.compare(s.position.last) >= 0 || !id.fits() {
			continue
		}
		there, err := s.has(ctx, id)
		if err != nil {
			return "", err
		}
		if there {
			from = id
			break
		}
	}
	until := s.position.last
	if info.last.compare(until) < 0 {
		until = info.last
	}
	n := 0
	for at := from; n < mostUnsure; {
		v, err := s.conn.Do(ctx, "XRANGE", s.stream, at.next().String(), until.String(), "COUNT", "100")
		if err != nil {
			return "", err
		}
		if v.Len() == 0 {
			break
		}
		id, ok := parseID(v.At(v.Len() - 1).At(0).Bytes())
		if !ok || id.compare(at) <= 0 {
			return "", malformed(v)
		}
		n, at = n+v.Len(), id
	}
	if n == 0 {
		return "", nil
	}
	return fmt.Sprintf(", and unsure=%d entries behind %s up to %s are in the log only if it had them before", n, from,
		until), nil
}

// reportReset counts and reports what happened to the stream, unless it was reported when it was
// gone.
func (s *streamReader) reportReset(what string, info *streamInfo) {
	if s.server.absent {
		s.n.Log.Info("a Redis stream is there again", "stream", s.stream, "the_server", what)
		return
	}
	s.n.Metrics.resets.Inc()
	s.n.Log.Warn("a Redis stream does not continue as it was read", "stream", s.stream, "the_server", what,
		"ends", info.last, "committed_until", s.position.last)
	s.n.Notice("NOTE stream=%s ends=%s committed_until=%s: the Redis server %s; entries that were not read before "+
		"are lost", s.source, info.last, s.position.last, what)
}

// isSame reports whether the stream on the server begins as the one in the log did, of which it
// does not have the latest entry. It does if it has one of the few entries that the log
// remembers. It is another one if fewer entries were removed from it than the log has of those
// before it. If nothing tells, its ids decide: a clock gave them, so smaller ones are older ones,
// and in the log; or a writer counts from the beginning again.
func (s *streamReader) isSame(ctx context.Context, info *streamInfo) (bool, error) {
	if s.position.last.compare(info.first) < 0 {
		return false, nil // everything in it is new
	}
	for _, e := range slices.Backward(s.sequence.Trail()) {
		id := idOf(e.Witness)
		switch {
		case id.compare(info.last) > 0 || !id.fits():
		case id.compare(info.first) >= 0:
			if there, err := s.has(ctx, id); there || err != nil {
				return there, err
			}
		case info.counts && e.Number&counted != 0 && e.Number&^counted > info.added-info.length:
			return false, nil
		}
	}
	return !s.server.absent && info.last.clocked(), nil
}
