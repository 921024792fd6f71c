package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// Conn is a connection to one server. Client.Dial makes it. One goroutine at a time may use
// it, and any other may Close it.
//
// An error other than a *ServerError ends the connection: it is closed, and each further call
// returns that error. What became of the commands whose replies are missing is not known. A
// context that ends while a call waits is such an error.
type Conn struct {
	nc      net.Conn
	server  string
	timeout time.Duration
	in      *Reader
	out     []byte // commands, not sent yet
	fresh   int    // commands in out
	pending int    // commands that were sent and have no reply yet
	err     error  // why it is closed

	listens time.Duration   // > 0: replies come without a command, and after a silence of so long a PING is sent
	pinged  bool            // and nothing has come since
	reading context.Context // of the Receive that runs
	until   time.Time       // its deadline; zero: none
	came    int             // bytes that came since it was set
}

// part is how many bytes must come, or go, within Timeout: a slow network is no server that
// is away.
const part = 128 << 10

func newConn(c *Client, nc net.Conn, server string) *Conn {
	conn := &Conn{nc: nc, server: server, timeout: c.timeout(), reading: context.Background()}
	conn.in = NewReader((*connReader)(conn), c.MaxBulk, c.MaxReply, c.Skipped)
	return conn
}

// Server is the address of the server.
func (c *Conn) Server() string { return c.server }

// Pending is how many commands were sent and have no reply yet.
func (c *Conn) Pending() int { return c.pending }

// Overflowed reports whether the last reply was larger than MaxReply, so that strings were
// skipped that are no longer than MaxBulk: ask for fewer at a time.
func (c *Conn) Overflowed() bool { return c.in.Overflowed() }

// Close closes the connection. A call that waits returns an error.
func (c *Conn) Close() error { return c.nc.Close() }

// DropUnsent has the system drop what it has not sent when the connection ends, also by the end of
// the process. Else it would send that for minutes after: a server behind a network that was
// broken for a while would do old commands after new ones.
func (c *Conn) DropUnsent() {
	nc := c.nc
	if over, ok := nc.(*tls.Conn); ok {
		nc = over.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// Begin appends the beginning of a command of n parts, its name included. Add appends each of
// them, or AddBytes or AddInt. Send sends what was appended.
//
//	*3 CRLF  $4 CRLF XADD CRLF  $4 CRLF logs CRLF  $1 CRLF * CRLF
func (c *Conn) Begin(n int) {
	c.fresh++
	c.header('*', n)
}

// Add appends a part of the command.
func (c *Conn) Add(part string) {
	c.header('$', len(part))
	c.out = append(append(c.out, part...), '\r', '\n')
}

// AddBytes appends a part of the command.
func (c *Conn) AddBytes(part []byte) {
	c.header('$', len(part))
	c.out = append(append(c.out, part...), '\r', '\n')
}

// AddInt appends a part of the command that is an integer.
func (c *Conn) AddInt(n int64) {
	var digits [20]byte
	c.AddBytes(strconv.AppendInt(digits[:0], n, 10))
}

func (c *Conn) header(typ byte, n int) {
	c.out = append(strconv.AppendInt(append(c.out, typ), int64(n), 10), '\r', '\n')
}

// Command appends a whole command.
func (c *Conn) Command(parts ...string) {
	c.Begin(len(parts))
	for _, p := range parts {
		c.Add(p)
	}
}

// Unsent is how many bytes were appended and not sent yet.
func (c *Conn) Unsent() int { return len(c.out) }

// Send sends the commands that were appended. Each of them will have one reply, which
// Receive returns, in the same order.
func (c *Conn) Send(ctx context.Context) error {
	if c.err != nil || len(c.out) == 0 {
		return c.err
	}
	var err error
	for rest := c.out; len(rest) > 0 && err == nil; {
		n := min(len(rest), part)
		err = c.write(ctx, rest[:n])
		rest = rest[n:]
	}
	c.pending += c.fresh
	c.fresh = 0
	if c.out = c.out[:0]; cap(c.out) > 4<<20 {
		c.out = nil
	}
	if err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

// write writes a part of the commands.
func (c *Conn) write(ctx context.Context, b []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(c.timeout))
	stop := context.AfterFunc(ctx, func() { c.nc.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := c.nc.Write(b)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// Receive returns the reply to the oldest command that has none. It waits for it as long as
// Timeout, and for wait longer, which is what the command itself may wait; with wait < 0 it
// waits until ctx ends. A long reply has as long for each 128 KiB of it. The reply is valid
// until the next one is received. An error of the server is returned as *ServerError.
func (c *Conn) Receive(ctx context.Context, wait time.Duration) (Value, error) {
	if c.err != nil {
		return Value{}, c.err
	}
	if c.pending == 0 && c.listens == 0 {
		return Value{}, errors.New("no command waits for a reply")
	}
	c.reading, c.until, c.came = ctx, time.Time{}, 0
	if wait >= 0 {
		c.until = time.Now().Add(c.timeout + wait)
	}
	for {
		v, err := c.in.Next()
		if err != nil {
			return Value{}, c.fail(ctx, err)
		}
		if c.unasked(v) {
			continue
		}
		if c.pending > 0 {
			c.pending--
		}
		if c.pending == 0 && c.listens == 0 && c.in.Buffered() > 0 {
			return Value{}, c.fail(ctx, protocolErrorf("the server sends replies to commands that it was not sent"))
		}
		if err := v.Err(); err != nil {
			return Value{}, err
		}
		return v, nil
	}
}

// Do sends one command, and returns its reply. No other command may wait for a reply.
func (c *Conn) Do(ctx context.Context, parts ...string) (Value, error) {
	return c.DoWait(ctx, 0, parts...)
}

// DoWait is Do for a command that may itself wait for so long, such as XREAD BLOCK.
func (c *Conn) DoWait(ctx context.Context, wait time.Duration, parts ...string) (Value, error) {
	c.Command(parts...)
	if err := c.Send(ctx); err != nil {
		return Value{}, err
	}
	return c.Receive(ctx, wait)
}

// Listen declares that messages come that are no replies: after SUBSCRIBE, each message and
// each confirmation is what Receive returns next. After a silence of so long it asks the
// server whether it is there. If that has no answer for as long again, the connection ends.
func (c *Conn) Listen(silence time.Duration) { c.listens = silence }

// unasked reports whether a reply is one that nothing asked for, or the answer to a PING of a
// listener.
func (c *Conn) unasked(v Value) bool {
	if c.listens > 0 {
		return string(v.At(0).Bytes()) == "pong" || string(v.Bytes()) == "PONG"
	}
	return v.node().kind == push
}

// fail ends the connection.
func (c *Conn) fail(ctx context.Context, err error) error {
	if ended := context.Cause(ctx); ended != nil {
		err = ended
	}
	c.err = &connError{fmt.Errorf("the Redis server %s: %w", c.server, err)}
	c.nc.Close()
	return c.err
}

// connReader is the connection as the Reader has it: a read ends with the context of the
// Receive that it is for.
type connReader Conn

func (c *connReader) Read(p []byte) (int, error) {
	for {
		until := c.until
		if c.listens > 0 {
			until = time.Now().Add(c.listens)
		}
		c.nc.SetReadDeadline(until)
		stop := context.AfterFunc(c.reading, func() { c.nc.SetReadDeadline(time.Unix(1, 0)) })
		n, err := c.nc.Read(p)
		if !stop() && err == nil {
			err = c.reading.Err()
		}
		if c.came += n; c.came >= part && !c.until.IsZero() {
			c.until, c.came = time.Now().Add(c.timeout), 0
		}
		silent := c.listens > 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.reading.Err() == nil
		if !silent || c.pinged {
			c.pinged = c.pinged && n == 0
			return n, err
		}
		c.pinged = true
		c.nc.SetWriteDeadline(time.Now().Add(c.timeout))
		if _, err := c.nc.Write([]byte(ping)); err != nil {
			return 0, err
		}
	}
}

const ping = "*1\r\n$4\r\nPING\r\n"

// Leave asks the server to end all subscriptions. What it had sent before comes first, then
// the confirmations. Any goroutine may call it.
func (c *Conn) Leave() {
	c.nc.SetWriteDeadline(time.Now().Add(c.timeout))
	io.WriteString(c.nc, leave)
}

const leave = "*1\r\n$11\r\nUNSUBSCRIBE\r\n*1\r\n$12\r\nPUNSUBSCRIBE\r\n"
