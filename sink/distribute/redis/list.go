package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"

	"fanin/internal/redisconn"
	"fanin/sink"
	"fanin/sink/distribute/carry"
)

// list is a Redis list, to whose end lines are appended, as they are in the file. How far
// it has the log is in a second key, the cursor, since consumers remove what is in the list:
//
//	LOG GENERATION-OFFSET HASH    id of the log, position of the last line, and the first 8
//	                              bytes of the SHA-256 of its text, in hexadecimal digits
//
// One script compares the cursor, sets it, and appends the lines: all of it is done, or
// nothing.
type list struct {
	name    string
	log     string
	maxLen  int64
	trimmed *atomic.Uint64 // lines that were removed because the list was longer than maxLen
}

// CursorName is what the name of the key that keeps how far a list has the log ends with. The
// input from lists has a key beside a list, too, which ends with the name of its consumer.
const CursorName = "fanin-out"

// CursorKey is the key that keeps how far a list has the log: in a Cluster, it is in the
// slot of the list. It is an error if no name of a second key is.
func CursorKey(list string) (string, error) { return KeyBeside(list, CursorName) }

// KeyBeside is the key beside a list whose name ends with an end.
func KeyBeside(list, end string) (string, error) {
	key := "{" + list + "}:" + end
	if redisconn.Tag(list) != list {
		key = list + ":" + end
	}
	if redisconn.Slot(key) != redisconn.Slot(list) {
		return "", fmt.Errorf("the name %q of a list has braces with which no second key is in the same slot of a "+
			"Cluster: leave them out", list)
	}
	return key, nil
}

// pusher appends ARGV[4] and all that follow to the list KEYS[1] if the cursor KEYS[2] is
// ARGV[1], and sets the cursor to ARGV[2]. If the list is then longer than ARGV[3], which is
// 0 for no bound, its beginning is removed. It returns how many elements that were; or the
// cursor, if it is another one.
//
// A script that fails is not undone, so what may be refused comes first: the wrong type of a
// key, and commands that an ACL does not allow.
const pusher = `local at = redis.call('GET', KEYS[2]) or ''
if at ~= ARGV[1] then return at end
local most = tonumber(ARGV[3])
if most > 0 then redis.call('LTRIM', KEYS[1], 0, -1) end
redis.call('SET', KEYS[2], ARGV[2])
local n = 0
for i = 4, #ARGV, 4000 do
  n = redis.pcall('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 3999, #ARGV)))
  if type(n) == 'table' then
    redis.call('SET', KEYS[2], at)
    return n
  end
end
if most > 0 and n > most then
  redis.call('LTRIM', KEYS[1], -most, -1)
  return n - most
end
return 0`

// String names it in messages.
func (l *list) String() string { return "list " + l.name }

func (l *list) key() string { return l.name }

func (l *list) cursor() string {
	key, _ := CursorKey(l.name) // the configuration was checked
	return key
}

// look asks for the cursor. Without one, it asks for the elements: if the server has lost its
// data or its end, there are none of ours, else only the cursor is gone.
func (l *list) look(ctx context.Context, c *redisconn.Conn) (st state, err error) {
	v, err := c.Do(ctx, "GET", l.cursor())
	if err != nil {
		return st, err
	}
	text := v.String()
	if text != "" {
		return parseCursor(text)
	}
	if v, err = c.Do(ctx, "LLEN", l.name); err != nil {
		return st, err
	}
	n, ok := v.Int()
	if !ok {
		return st, unexpected("LLEN", v)
	}
	st.bare = n
	return st, nil
}

// cursorGone is why nothing is added to a list that has elements and no cursor; last is the
// last line that it was given.
func (l *list) cursorGone(has state, g *given, last []byte) error {
	const why = "it has %d elements, and the key %s, which says how far it has the log, is gone: a client deleted " +
		"it, or the server evicted it, which maxmemory-policy noeviction prevents; nothing is added, since lines " +
		"would be there twice. "
	again := fmt.Sprintf("To have all lines from %s on sent again, remove the list: DEL %s", g.begin, l.name)
	if (g.end == sink.Position{}) || last == nil {
		return fmt.Errorf(why+"%s", has.bare, l.cursor(), again)
	}
	return fmt.Errorf(why+"If its last element is the line that the log has at %s, restore the key: SET %s %q. %s",
		has.bare, l.cursor(), g.end, l.cursor(), cursorText(l.log, g.end, last), again)
}

// parseCursor reads a cursor. One of another program is no error, but no cursor of ours.
func parseCursor(text string) (st state, err error) {
	if text == "" {
		return st, nil
	}
	parts := strings.Split(text, " ")
	if len(parts) == 3 {
		st.at, err = parseID(parts[1])
	}
	if len(parts) != 3 || err != nil || (st.at == sink.Position{}) {
		return state{}, fmt.Errorf("the key beside the list has %.80q, which is no position in a log: remove it", text)
	}
	st.owner, st.cursor = parts[0], text
	st.same = func(line []byte) bool { return hash(line) == parts[2] }
	return st, nil
}

// hash is the first 8 bytes of the SHA-256 of a line, in hexadecimal digits.
func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:8])
}

// cursorAt is the cursor behind a line.
func (l *list) cursorAt(last *carry.Line) string {
	return cursorText(l.log, position(last.ID), last.Text)
}

func cursorText(log string, at sink.Position, line []byte) string {
	return fmt.Sprintf("%s %d-%d %s", log, at.Generation, at.Offset, hash(line))
}

// add appends lines.
func (l *list) add(ctx context.Context, c *redisconn.Conn, has state, lines []carry.Line) (state, error) {
	last := &lines[len(lines)-1]
	cursor := l.cursorAt(last)
	c.Begin(8 + len(lines))
	for _, part := range []string{"EVAL", pusher, "2", l.name, l.cursor(), has.cursor, cursor} {
		c.Add(part)
	}
	c.AddInt(l.maxLen)
	for i := range lines {
		c.AddBytes(lines[i].Text)
	}
	n, err := evaluated(ctx, c)
	if err != nil {
		return state{}, err
	}
	l.trimmed.Add(uint64(n))
	return state{at: position(last.ID), owner: l.log, cursor: cursor}, nil
}
