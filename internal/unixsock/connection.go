package unixsock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"

	"fanin/internal/wire"
)

// connection is one peer of a stream socket. Its messages end in a newline, or in a NUL, as
// those of syslog(3) do; the last one may end with the connection.
type connection struct {
	s     *Socket
	c     *net.UnixConn
	pid   int
	block []byte
	held  int     // bytes in block, no end of a message among them
	line  []byte  // memory for the next line
	part  message // the message of which a part was taken
	goes  bool    // it goes on
}

// maxMessage is how long a message may be; what is longer is divided, with the marks of a
// divided line.
const maxMessage = wire.MaxLine - len(wire.SplitGoesOn) - len(wire.SplitMark) - 1

// receive receives until the connection ends.
func (x *connection) receive(taking context.Context) {
	for {
		n, err := x.c.Read(x.block[x.held:])
		if x.messages(taking, x.block[:x.held+n], err != nil) != nil {
			return
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			x.s.Log.Debug("a connection to the socket broke", "path", x.s.Path, "err", err)
		}
		return
	}
}

// messages takes the messages that are complete; last says that no bytes follow.
func (x *connection) messages(ctx context.Context, have []byte, last bool) error {
	for {
		end := bytes.IndexAny(have, "\n\x00")
		if end < 0 {
			break
		}
		if err := x.take(ctx, have[:end], have[end] == 0); err != nil {
			return err
		}
		have = have[end+1:]
	}
	if last {
		return x.take(ctx, have, true)
	}
	if n := x.cut(have); n > 0 {
		if err := x.takePart(ctx, have[:n], wire.SplitMark); err != nil {
			return err
		}
		x.goes, have = true, have[n:]
	}
	x.held = copy(x.block, have)
	x.shrink()
	return nil
}

const (
	firstBlock = 4 << 10
	keepBlock  = 16 << 10 // what a connection keeps between its messages
	// mostHeld is how much memory the connections of a socket have together for messages whose
	// ends did not come, beside the first block of each.
	mostHeld = 16 << 20
)

// newBlock gives the connection its first block; release gives back all of its memory.
func (x *connection) newBlock() (release func()) {
	x.block = make([]byte, firstBlock)
	return func() { x.s.held.Add(int64(firstBlock - len(x.block))) }
}

// cut returns where a message is divided of which have came; 0: nowhere yet. It is where a line
// cannot be longer, or where there is no memory for more.
func (x *connection) cut(have []byte) int {
	switch {
	case len(have) > maxMessage:
		return wire.CutLine(have, maxMessage)
	case len(have) < len(x.block) || x.grow():
		return 0
	}
	return wire.CutLine(have, len(have)-1)
}

// grow makes the block larger; false: there is no memory for that.
func (x *connection) grow() bool {
	n := min(len(x.block), maxMessage+firstBlock-len(x.block))
	if x.s.held.Add(int64(n)) > mostHeld {
		x.s.held.Add(int64(-n))
		return false
	}
	x.block = append(make([]byte, 0, len(x.block)+n), x.block...)[:len(x.block)+n]
	return true
}

// shrink gives memory back that a long message needed.
func (x *connection) shrink() {
	if cap(x.line) > keepBlock {
		x.line = nil
	}
	if len(x.block) > keepBlock && x.held < firstBlock {
		x.s.held.Add(int64(firstBlock - len(x.block)))
		x.block = append(make([]byte, 0, firstBlock), x.block[:x.held]...)[:firstBlock]
	}
}

// take takes a message, or the last part of one. An empty one is a line if it is not the NUL
// behind a newline, or the end.
func (x *connection) take(ctx context.Context, text []byte, noLine bool) error {
	if len(text) == 0 && noLine && !x.goes {
		return nil
	}
	err := x.takePart(ctx, text, "")
	x.goes = false
	return err
}

// takePart takes a part of a message, with what marks its end.
func (x *connection) takePart(ctx context.Context, text []byte, mark string) (err error) {
	x.line = x.line[:0]
	if x.goes {
		x.line = append(x.line, wire.SplitGoesOn...)
		x.part.text = text
	} else {
		x.part = x.s.parse(text)
	}
	x.line = append(append(x.line, x.part.text...), mark...)
	x.line, err = x.s.append(ctx, x.line, x.part, x.pid)
	return err
}
