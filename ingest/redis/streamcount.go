package redis

import (
	"context"
	"errors"
	"strings"
	"time"

	"fanin/internal/redisconn"
	"fanin/internal/retry"
)

// streamInfo is what the server counts of a stream.
type streamInfo struct {
	last, first streamID // the last id that was ever given, and the first entry that is there
	length      uint64   // entries that are there
	added       uint64   // entries that were ever added
	counts      bool     // the server knows added: Redis from 7.0 on does
}

// parseInfo reads the reply to XINFO STREAM.
func parseInfo(v redisconn.Value) (i streamInfo, err error) {
	last, ok1 := parseID(v.Get("last-generated-id").Bytes())
	length, ok2 := v.Get("length").Int()
	if !ok1 || !ok2 || length < 0 {
		return i, &redisconn.ProtocolError{Text: "the reply to XINFO STREAM has no last-generated-id or no length"}
	}
	i.last, i.length = last, uint64(length)
	i.first, _ = parseID(v.Get("first-entry").At(0).Bytes())
	added, ok := v.Get("entries-added").Int()
	if i.counts = ok && added >= length && added < counted; i.counts { // XSETID sets any number
		i.added = uint64(added)
	}
	return i, nil
}

// size is how many bytes of strings a reply had, those that were skipped included.
func size(v redisconn.Value) (n int64) {
	if v.IsList() {
		for _, e := range v.All() {
			n += size(e)
		}
		return n
	}
	skipped, _ := v.Skipped()
	return skipped + int64(len(v.Bytes()))
}

// noKey reports that the server has no such stream.
func noKey(err error) bool {
	var refused *redisconn.ServerError
	return errors.As(err, &refused) && strings.Contains(refused.Text, "no such key")
}

// serverCount is what is known of the server's counts.
type serverCount struct {
	at      streamInfo // an entry, and how many were added up to it
	open    bool       // at was not compared with the numbers of what was read
	absent  bool       // the stream was seen not to be there
	suspect bool       // the stream does not continue what was read: see compare
	shared  bool       // several consumers have the group, so numbers are not the server's
	unknown bool       // it was logged that the server does not count
	sought  bool       // missing entries were searched for among the pending ones

	reported time.Time // when entries that are missing were reported
}

// passed reports whether the entry in question comes before id.
func (c *serverCount) passed(id streamID) bool { return c.open && id.compare(c.at.last) > 0 }

// noteInfo notes the reply to the question for the server's counts.
func (s *streamReader) noteInfo(v redisconn.Value, err error) error {
	if redisconn.Classify(err) == redisconn.NoPermission {
		s.uncounted("the login may not use XINFO: permit it with ACL SETUSER")
		return nil
	}
	if err != nil {
		if noKey(err) {
			return errAgain
		}
		return err
	}
	info, err := parseInfo(v)
	if err != nil {
		return err
	}
	s.requests.pause(size(v.Get("first-entry"))+size(v.Get("last-entry")), s.n.wait/2)
	if info.last.compare(s.position.last) < 0 {
		s.server.suspect = true
		return errAgain
	}
	if !info.counts {
		s.uncounted("the server is older than Redis 7")
		return nil
	}
	if !s.server.open {
		s.server.at, s.server.open = info, true
	}
	return nil
}

// uncounted logs that entries which are removed before they are read are not counted.
func (s *streamReader) uncounted(why string) {
	if !s.server.unknown {
		s.server.unknown = true
		s.n.Log.Warn("entries that are removed from a Redis stream before they are read cannot be counted",
			"stream", s.stream, "reason", why)
	}
}

// settle compares the number of the latest entry that was read with the server's count. All
// entries up to the one in question were read, or are gone.
func (s *streamReader) settle(ctx context.Context) error {
	c, p := &s.server, &s.position
	if !c.open {
		return nil
	}
	c.open = false
	if c.shared {
		return nil
	}
	have := p.number &^ counted
	switch {
	case p.number&counted == 0: // the entries were not counted until now
		p.number = counted | c.at.added
		return nil
	case have == c.at.added:
		c.sought = false
		return nil
	case have > c.at.added:
		if err := s.flush(ctx); err != nil {
			return err
		}
		c.suspect = true
		return errAgain
	}
	if s.n.Streams.Group != "" && !c.sought {
		c.sought, s.requests.search = true, true
		return nil
	}
	if time.Since(c.reported) < retry.LogEvery {
		return nil // the next time
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	c.reported = time.Now()
	p.number = counted | c.at.added
	s.reportMissed(c.at.added-have, c.at.last)
	return s.rewind()
}

// reportMissed counts and reports entries that were gone before they were read.
func (s *streamReader) reportMissed(n uint64, until streamID) {
	s.n.Metrics.missed.Add(float64(n))
	s.n.Log.Error("entries left a Redis stream before they were read", "stream", s.stream, "entries", n,
		"until", until, "remedy", "trim the stream less: raise MAXLEN, or trim by MINID")
	s.n.Notice("LOST n=%d unit=entries reason=redis-trimmed stream=%s until=%s: they were trimmed or deleted before "+
		"they were read; according to the server's counts", n, s.source, until)
}
