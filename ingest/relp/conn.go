package relp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"fanin/ingest/stream"
	"fanin/ingest/syslog"
)

// conn is the session of a client. One goroutine reads frames. While it is busy it has two batches:
// one is filled while the other one is being appended.
type conn struct {
	*stream.Conn
	p         *Protocol
	appending context.Context // of every Append
	raw       syscall.RawConn // nil: not a TCP connection
	in        *stream.Intake
	scanner   *syslog.Scanner
	from      syslog.Origin

	state
	next    *batch // is filled
	spare   *batch // nil: flying is being appended
	flying  *batch
	outcome chan error // of the batch that is being appended
	failed  bool       // a batch was not appended, or not answered
	pending atomic.Int64
	answers answers

	session *session // nil: no message came yet
	opening opening
	decided bool   // which of the first messages are repeats
	doubt   *doubt // nil: none
}

// state is what the client's frames have led to.
type state struct {
	number   uint32    // of the last frame; 0: none came
	opened   bool      // it has sent an open
	closing  uint32    // number of its close; 0: it sent none
	exceeded bool      // it had more messages without an answer than the window
	jumped   bool      // the numbers of its frames did not follow each other
	unknown  bool      // it sent a command that is not known
	begun    time.Time // when the frame began that is not complete; zero: there is none
}

// readSize is the largest block that frames are read into, unless one is larger.
const readSize = 64 << 10

func newConn(ctx context.Context, p *Protocol, sc *stream.Conn) *conn {
	c := &conn{Conn: sc, p: p, appending: ctx, outcome: make(chan error, 1), answers: newAnswers(),
		next: new(batch), spare: new(batch)}
	c.raw = rawConn(sc.Net())
	c.in = stream.NewIntake(sc, readSize)
	c.scanner = p.Messages.New()
	c.from = syslog.Origin{Host: sc.Host, Now: time.Now()}
	return c
}

// rawConn returns the descriptor of a connection, or of the one below TLS; nil: it has none.
func rawConn(nc net.Conn) syscall.RawConn {
	if x, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = x.NetConn()
	}
	if x, ok := nc.(syscall.Conn); ok {
		if raw, err := x.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// fault is why the collector ends a session.
type fault struct{ reason, text string }

func (f *fault) Error() string { return f.text }

// errClose ends a session that its client closes.
var errClose = errors.New("the client closes the session")

// serve serves the session until it ends.
func (c *conn) serve() error {
	defer context.AfterFunc(c.Context(), c.hurry)()
	err := c.in.Settle(c.appending)
	if err == nil {
		err = c.run()
	}
	err = c.finish(err)
	c.report(err)
	c.sayLast(err)
	return err
}

// hurry shortens the time for answers: the session is to end.
func (c *conn) hurry() { c.Net().SetWriteDeadline(time.Now().Add(stream.LingerTime)) }

// run takes frames until an error ends it.
func (c *conn) run() error {
	for {
		if err := c.awaitAnswers(); err != nil {
			return err
		}
		full, err := c.takeFrames()
		if err != nil {
			return err
		}
		if c.undecided() {
			if err := c.decide(full && !c.hold()); err != nil {
				return err
			}
		}
		switch {
		case full && !c.undecided():
			err = c.handOver()
		case full: // another batch is filled
		case c.ready() && c.idle():
			err = c.handOver()
		default:
			err = c.read()
		}
		if err != nil {
			return err
		}
	}
}

// undecided reports whether messages are held because they may be repeats.
func (c *conn) undecided() bool { return !c.decided && len(c.opening.hashes) > 0 }

// ready reports whether the batch may be handed over.
func (c *conn) ready() bool { return len(c.next.answers) > 0 && !c.undecided() }

// read reads more. Where nothing more is there now, it hands the batch over instead.
func (c *conn) read() error {
	wait := !c.ready()
	if c.in.Until = (time.Time{}); c.undecided() {
		c.in.Until = c.opening.again()
	} else if !c.begun.IsZero() {
		c.in.Until = c.begun.Add(c.Limits.FrameTimeout)
	}
	if !wait && !c.in.TryBlock() {
		return c.handOver()
	}
	unpin, err := c.pinHeld()
	if err != nil {
		return err
	}
	n, err := c.in.Read(c.appending, wait)
	if unpin(); n > 0 {
		if c.from.Now = time.Now(); c.begun.IsZero() {
			c.begun = c.from.Now
		}
	}
	if n == 0 && err == nil && !wait {
		return c.handOver()
	}
	return c.readError(err)
}

// readError returns why to end, if a read ended with err.
func (c *conn) readError(err error) error {
	held := errors.Is(err, stream.ErrHeld)
	switch {
	case !held && !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case c.Woken():
		return os.ErrDeadlineExceeded
	case c.undecided() && !time.Now().Before(c.in.Until):
		return nil // decide again
	case held && time.Since(c.begun) < c.Limits.FrameTimeout:
		return errMemory
	}
	return os.ErrDeadlineExceeded
}

var errMemory = &fault{"memory", "there is no memory for a message that has begun; its client sends it again"}

// takeFrames takes the frames that are there. full reports that the batch has no space for the next.
func (c *conn) takeFrames() (full bool, err error) {
	b, at := c.in.Bytes(), 0
	for at < len(b) && err == nil && !full {
		f, size, wrong := parse(b[at:])
		switch {
		case wrong != nil:
			err = &fault{"protocol", wrong.Error()}
		case size-headerSize > c.p.MaxMessage:
			err = &fault{"too_large", fmt.Sprintf("a message of about %d bytes is longer than max_message, which is "+
				"%d; its client sends it again and again: raise max_message", size, c.p.MaxMessage)}
		case size == 0 || size > len(b)-at:
			c.keep(at)
			return c.makeSpace(size)
		default:
			if full, err = c.take(&f); !full {
				at += size
			}
		}
	}
	if c.keep(at); c.in.Have == 0 {
		c.begun = time.Time{}
	}
	return full, err
}

// keep keeps what was read from a place on.
func (c *conn) keep(at int) {
	if at == 0 {
		return
	}
	c.in.Adapt()
	c.in.Have = copy(c.in.Block, c.in.Block[at:c.in.Have])
	if c.begun = c.from.Now; c.in.Have == 0 {
		c.begun = time.Time{}
	}
}

// makeSpace makes space for the frame at the beginning of what was read, which has size bytes; 0:
// that is not known yet. full reports that the batch must be handed over before, as in makeRoom.
func (c *conn) makeSpace(size int) (full bool, err error) {
	if c.in.Block == nil || size <= len(c.in.Block) {
		return false, nil
	}
	b := c.Budget.TryAcquire(size)
	if b == nil {
		if len(c.next.answers) > 0 {
			return true, nil
		}
		c.dropHeld()
		if b, err = c.Budget.Extend(c.Context(), size); err != nil {
			return false, os.ErrDeadlineExceeded
		}
	}
	copy(b, c.in.Block[:c.in.Have])
	c.Budget.Release(c.in.Block)
	c.in.Block = b
	return false, nil
}
