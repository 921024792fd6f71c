package redis

import (
	"context"
	"errors"
	"fmt"

	"fanin/internal/redisconn"
	"fanin/sink"
	"fanin/sink/distribute/carry"
	"fanin/sink/distribute/worker"
)

// target is the key that has the lines, with how far it has the log.
type target interface {
	// String names it in messages, such as "stream fanin".
	String() string
	// key is in the slot of a Cluster where all of it is.
	key() string
	// look asks the server what the target has.
	look(ctx context.Context, c *redisconn.Conn) (state, error)
	// add adds lines, all or none, to a target that has what the state says, and returns what
	// it has then. If that changed since, it adds none and returns errChanged.
	add(ctx context.Context, c *redisconn.Conn, has state, lines []carry.Line) (state, error)
}

// errChanged is the error of a target that another program has changed.
var errChanged = errors.New("another program changed it, or it was removed")

// state is what a target has.
type state struct {
	at    sink.Position // of its last line; zero: none, or the target does not exist
	owner string        // the log that its last entry names, or what else is there; "": nothing is left that could tell
	// same reports whether the last entry is this line of the log; nil: nothing is left that could tell.
	same   func(line []byte) bool
	cursor string // the same as at, as the server has it
	bare   int64  // elements of a list without a cursor
}

// lastOf returns the position of the last of some lines.
func lastOf(lines []carry.Line) sink.Position { return position(lines[len(lines)-1].ID) }

func position(id worker.ID) sink.Position {
	return sink.Position{Generation: id.Generation, Offset: id.Offset}
}

// behind returns the position behind a line.
func behind(l *carry.Line) sink.Position {
	return sink.Position{Generation: l.ID.Generation, Offset: l.ID.Offset + int64(len(l.Text)) + 1}
}

// unexpected is the error of a reply that the server should never send.
func unexpected(command string, v redisconn.Value) error {
	return &redisconn.ProtocolError{Text: fmt.Sprintf("the server answers %s with %.80q", command, v.String())}
}

// evaluated sends a script, and returns the number that it returns. A text is what the target
// has instead of what was expected.
func evaluated(ctx context.Context, c *redisconn.Conn) (int64, error) {
	if err := c.Send(ctx); err != nil {
		return 0, err
	}
	v, err := c.Receive(ctx, 0)
	switch {
	case err != nil:
		return 0, err
	case v.IsText():
		return 0, errChanged
	}
	n, ok := v.Int()
	if !ok {
		return 0, unexpected("EVAL", v)
	}
	return n, nil
}
