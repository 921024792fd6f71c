package redis

import (
	"context"
	"errors"
	"strings"

	"fanin/internal/redisconn"
)

// openGroup makes the group if it is missing, and the stream with it. A new group begins where
// the log ends.
func (s *streamReader) openGroup(ctx context.Context) error {
	o := &s.n.Streams
	_, err := s.conn.Do(ctx, "XGROUP", "CREATE", s.stream, o.Group, s.position.begin().String(), "MKSTREAM")
	var refused *redisconn.ServerError
	exists := errors.As(err, &refused) && strings.HasPrefix(refused.Text, "BUSYGROUP")
	switch {
	case err == nil:
		s.n.Log.Info("the consumer group was made", "stream", s.stream, "group", o.Group, "behind", s.position.begin())
	case !exists && redisconn.Classify(err) != redisconn.NoPermission: // it may exist: reading tells
		return err
	}
	if exists && s.position.fresh() {
		s.position.number = 0 // it may begin anywhere
	}
	return s.findOthers(ctx)
}

// findOthers finds out whether other consumers have the group, too. Then it is not known which
// entries would have come here, so the numbers are not the server's.
func (s *streamReader) findOthers(ctx context.Context) error {
	v, err := s.conn.Do(ctx, "XINFO", "GROUPS", s.stream)
	if redisconn.Classify(err) == redisconn.NoPermission {
		return nil
	}
	if err != nil {
		return err
	}
	if s.server.shared = s.isShared(v); !s.server.shared {
		return nil
	}
	s.uncounted("several consumers read with the group")
	fresh, numbered := s.position.fresh(), s.position.number&counted != 0
	if s.position.number &= counted - 1; fresh || !numbered {
		return nil
	}
	s.position.number = 0
	return s.rewind()
}

// isShared finds the group in the reply to XINFO GROUPS.
func (s *streamReader) isShared(groups redisconn.Value) bool {
	for _, g := range groups.All() {
		if g.Get("name").String() == s.n.Streams.Group {
			consumers, _ := g.Get("consumers").Int()
			return consumers > 1
		}
	}
	return false
}

// noteGroups notes the reply to XINFO GROUPS.
func (s *streamReader) noteGroups(v redisconn.Value, err error) error {
	switch {
	case redisconn.Classify(err) == redisconn.NoPermission:
		return nil
	case err != nil:
		return err
	case s.isShared(v) && !s.server.shared:
		return errAgain
	}
	return nil
}
