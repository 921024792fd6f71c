package redis

import (
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
// One script compares the last id and adds the lines: all of them, or none.
type stream struct {
	name   string
	log    string
	maxLen int64
	parts  func(line []byte) line.Fields
	id     []byte // of the entry that was appended last
}

// String names it in messages.
func (s *stream) String() string { return "stream " + s.name }

func (s *stream) key() string { return s.name }

// appender adds lines to the stream KEYS[1] if its last id is ARGV[1]: for each line five of
// ARGV[4] and all that follow, which are id, host, source, time and message. ARGV[2] is the id
// of the log. With the last line, the stream is shortened to about ARGV[3] entries; 0 for no
// bound. It returns 1; or the last id, if it is another one.
//
// The comparison is what makes a refused id impossible: no other program can have added an
// entry in between. Consumers may have removed some, which does not matter. That it is one
// command is also what makes it fast where each write is synced: the server reads what a client
// sends in pieces of 16 KiB, and syncs after the commands of each.
const appender = `local at, info = '0-0', redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err and not string.find(info.err, 'no such key', 1, true) then return info end
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then at = info[i + 1] end
end
if at ~= ARGV[1] then return at end
local log, most, last = ARGV[2], tonumber(ARGV[3]), #ARGV - 4
for i = 4, #ARGV, 5 do
  if most > 0 and i == last then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', most, ARGV[i], 'log', log, 'host', ARGV[i + 1], 'source', ARGV[i + 2],
      'time', ARGV[i + 3], 'message', ARGV[i + 4])
  else
    redis.call('XADD', KEYS[1], ARGV[i], 'log', log, 'host', ARGV[i + 1], 'source', ARGV[i + 2],
      'time', ARGV[i + 3], 'message', ARGV[i + 4])
  end
end
return 1`

// look asks for the last entry.
func (s *stream) look(ctx context.Context, c *redisconn.Conn) (state, error) {
	v, err := c.Do(ctx, "XINFO", "STREAM", s.name)
	var refused *redisconn.ServerError
	if errors.As(err, &refused) && strings.Contains(refused.Text, "no such key") {
		return state{cursor: "0-0"}, nil
	}
	if err != nil {
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
	st.cursor = id
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

// add adds lines.
func (s *stream) add(ctx context.Context, c *redisconn.Conn, has state, lines []carry.Line) (state, error) {
	c.Begin(7 + 5*len(lines))
	for _, part := range []string{"EVAL", appender, "1", s.name, has.cursor, s.log} {
		c.Add(part)
	}
	c.AddInt(s.maxLen)
	for i := range lines {
		l := &lines[i]
		s.id = strconv.AppendUint(s.id[:0], l.ID.Generation, 10)
		s.id = strconv.AppendInt(append(s.id, '-'), l.ID.Offset, 10)
		c.AddBytes(s.id)
		f := s.parts(l.Text)
		for _, field := range [][]byte{f.Host, f.Source, f.Time, f.Body} {
			c.AddBytes(field)
		}
	}
	if _, err := evaluated(ctx, c); err != nil {
		return state{}, err
	}
	return state{at: lastOf(lines), owner: s.log, cursor: string(s.id)}, nil
}
