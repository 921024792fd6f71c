package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"fanin/internal/redisconn"
	"fanin/sink"
	"fanin/sink/distribute/carry"
	"fanin/sink/line"
)

// stream is a Redis stream. The id of an entry is the position of its line,
// GENERATION-OFFSET, so ids grow as the log does, and a server refuses what is not behind its
// last entry. An entry has five fields, those that are not known being empty:
//
//	log       id of the log, 32 hexadecimal digits
//	host      as in the file
//	source    as in the file
//	time      as the file shows it: RFC 3339, in UTC, with microseconds
//	message   the text of the line, as in the file
//
// Lines are added by these commands, which are sent together:
//
//	MULTI
//	XADD NAME GENERATION-OFFSET log ... host ... source ... time ... message ...    for each line
//	EXEC                 null if the stream was changed since the WATCH before
//	WATCH NAME           for the next time
//	XINFO STREAM NAME    what it has from now on
//
// The transaction is also what makes it fast where each write is synced: the server reads a
// client's commands in pieces of 16 KiB, and would sync after each piece.
type stream struct {
	name   string
	log    string
	maxLen int64
	parts  func(line []byte) line.Fields
	id     []byte // of the entry that is being added
}

// String names it in messages.
func (s *stream) String() string { return "stream " + s.name }

func (s *stream) key() string { return s.name }

// look watches the stream, and asks for its last entry.
func (s *stream) look(ctx context.Context, c *redisconn.Conn) (state, error) {
	s.appendLook(c)
	if err := c.Send(ctx); err != nil {
		return state{}, err
	}
	return s.looked(ctx, c)
}

func (s *stream) appendLook(c *redisconn.Conn) {
	c.Command("WATCH", s.name)
	c.Command("XINFO", "STREAM", s.name)
}

// looked reads the replies to appendLook.
func (s *stream) looked(ctx context.Context, c *redisconn.Conn) (state, error) {
	_, err := c.Receive(ctx, 0)
	v, err2 := c.Receive(ctx, 0)
	var refused *redisconn.ServerError
	if errors.As(err2, &refused) && err == nil && strings.Contains(refused.Text, "no such key") {
		return state{}, nil
	}
	if err = errors.Join(err, err2); err != nil {
		return state{}, err
	}
	return s.state(v)
}

// state is what XINFO STREAM says.
func (s *stream) state(v redisconn.Value) (st state, err error) {
	id := v.Get("last-generated-id").String()
	if st.at, err = parseID(id); err != nil {
		return st, err
	}
	entry := v.Get("last-entry")
	fields := entry.At(1)
	switch {
	case st.at == sink.Position{} || entry.Len() != 2:
		return st, nil
	case !fields.Get("log").IsText():
		st.owner = "of another program"
		return st, nil
	}
	st.owner = fields.Get("log").String()
	if message := fields.Get("message"); message.IsText() && entry.At(0).String() == id {
		time, text := fields.Get("time").String(), message.String()
		st.same = func(line []byte) bool {
			f := s.parts(line)
			return string(f.Time) == time && string(f.Body) == text
		}
	}
	return st, nil
}

// parseID reads an entry's id as a position.
func parseID(id string) (at sink.Position, err error) {
	ms, seq, ok := strings.Cut(id, "-")
	at.Generation, err = strconv.ParseUint(ms, 10, 64)
	offset, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || err2 != nil {
		return at, &redisconn.ProtocolError{Text: fmt.Sprintf("the server names the id %.40q of an entry", id)}
	}
	at.Offset = int64(min(offset, math.MaxInt64)) // beyond all offsets
	return at, nil
}

// add adds lines in one transaction.
func (s *stream) add(ctx context.Context, c *redisconn.Conn, _ state, lines []carry.Line) (state, error) {
	c.Command("MULTI")
	for i := range lines {
		s.appendEntry(c, &lines[i], s.maxLen > 0 && i == len(lines)-1)
	}
	c.Command("EXEC")
	s.appendLook(c)
	if err := c.Send(ctx); err != nil {
		return state{}, err
	}
	var refused error // why a command was not queued
	for range len(lines) + 1 {
		if _, err := c.Receive(ctx, 0); err != nil && refused == nil {
			refused = err
		}
	}
	v, err := c.Receive(ctx, 0)
	switch {
	case refused != nil:
		return state{}, refused
	case err != nil:
		return state{}, err
	case v.IsNull():
		return state{}, errChanged
	case v.Len() != len(lines):
		return state{}, unexpected("EXEC", v)
	}
	for _, e := range v.All() {
		if err := e.Err(); err != nil {
			return state{}, err
		}
	}
	return s.looked(ctx, c)
}

// appendEntry appends the command that adds a line; with trim, it shortens the stream.
func (s *stream) appendEntry(c *redisconn.Conn, l *carry.Line, trim bool) {
	s.id = strconv.AppendUint(s.id[:0], l.ID.Generation, 10)
	s.id = strconv.AppendInt(append(s.id, '-'), l.ID.Offset, 10)
	f := s.parts(l.Text)
	if trim {
		c.Begin(16)
	} else {
		c.Begin(13)
	}
	c.Add("XADD")
	c.Add(s.name)
	if trim {
		c.Add("MAXLEN")
		c.Add("~")
		c.AddInt(s.maxLen)
	}
	c.AddBytes(s.id)
	c.Add("log")
	c.Add(s.log)
	c.Add("host")
	c.AddBytes(f.Host)
	c.Add("source")
	c.AddBytes(f.Source)
	c.Add("time")
	c.AddBytes(f.Time)
	c.Add("message")
	c.AddBytes(bytes.TrimSuffix(f.Body, []byte{'\n'}))
}
