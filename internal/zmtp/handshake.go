package zmtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// handshake is a connection before it is one: it exchanges greetings, then commands.
type handshake struct {
	nc   net.Conn
	o    *Options
	in   *buffer
	peer Peer
	hint string // what an end of the connection now would mean
}

// Handshake speaks the greeting and the handshake over nc. On an error it closes nc; the error is
// an *Error where the peer is the reason. A done ctx ends the handshake.
func Handshake(ctx context.Context, nc net.Conn, o *Options) (*Conn, error) {
	c, err := shake(ctx, nc, o, minor)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// shake is Handshake with the minor version that the greeting offers.
func shake(ctx context.Context, nc net.Conn, o *Options, offer byte) (*Conn, error) {
	h := &handshake{nc: nc, o: o, in: newBuffer(nc, o.Memory)}
	nc.SetDeadline(time.Now().Add(o.handshakeTimeout()))
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	box, err := h.run(offer)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, h.explain(ctx, err)
	}
	nc.SetDeadline(time.Time{})
	return newConn(h, box), nil
}

// run speaks the greeting and the mechanism.
func (h *handshake) run(offer byte) (*box, error) {
	if err := h.greet(offer); err != nil {
		return nil, err
	}
	s := &h.o.Security
	switch {
	case s.Curve != nil && s.Server:
		return h.curveServer(s.Curve)
	case s.Curve != nil:
		return h.curveClient(s.Curve)
	case s.Plain != nil && s.Server:
		return nil, h.plainServer(s.Plain)
	case s.Plain != nil:
		return nil, h.plainClient(s.Plain)
	}
	return nil, h.null()
}

// greet exchanges greetings. A server names its mechanism only when it knows the peer's: libzmq
// closes without naming its own when it reads another one, and neither would learn which.
func (h *handshake) greet(offer byte) error {
	ours := appendGreeting(nil, &h.o.Security, min(offer, minor))
	now := greetingSize
	hint := ": it may use another mechanism than " + h.o.Security.Mechanism()
	if h.o.Security.Server {
		now = mechanismAt
		hint = ": both sides may be servers"
	}
	if err := h.write(ours[:now]); err != nil {
		return err
	}
	for {
		if err := checkSignature(h.in.bytes()); err != nil {
			return err
		}
		if len(h.in.bytes()) >= greetingSize {
			break
		}
		if len(h.in.bytes()) >= signatureSize {
			h.hint = hint
		}
		if err := h.in.fill(context.Background(), greetingSize); err != nil {
			return err
		}
	}
	h.hint = ""
	if err := h.write(ours[now:]); err != nil {
		return err
	}
	theirs, err := checkGreeting(h.in.bytes()[:greetingSize], &h.o.Security)
	h.in.r += greetingSize
	h.peer.Minor = min(theirs, offer)
	return err
}

// null speaks the NULL mechanism (RFC 37). The client begins, or both do at once, as in libzmq:
//
//	5 "READY"  metadata
//
// A server that waits for the client's can still answer with ERROR instead.
func (h *handshake) null() error {
	ours := appendCommand(nil, ready, appendMetadata(nil, h.o))
	if h.o.Security.Server {
		ours = nil
	}
	if err := h.write(ours); err != nil {
		return err
	}
	data, err := h.expect(ready)
	if err != nil {
		return err
	}
	if err := h.meet(data); err != nil || !h.o.Security.Server {
		return err
	}
	return h.write(appendCommand(nil, ready, appendMetadata(nil, h.o)))
}

const ready = "\x05READY"

// meet reads the peer's metadata and checks whether the two sockets fit. If not, a server tells
// the peer, whose handshake is not complete yet.
func (h *handshake) meet(metadata []byte) error {
	if err := parseMetadata(metadata, &h.peer); err != nil {
		return err
	}
	err := checkPeer(h.o.Type, &h.peer)
	if err != nil && h.o.Security.Server {
		h.refuse("Invalid socket type")
	}
	return err
}

// refuse tells the peer why it is refused. Its error does not matter.
func (h *handshake) refuse(reason string) {
	h.write(appendCommand(nil, failing, []byte{byte(len(reason))}, []byte(reason)))
}

func (h *handshake) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := h.nc.Write(b)
	return err
}

// expect reads the next command and returns its data, which is valid until the next read.
func (h *handshake) expect(want string) ([]byte, error) {
	body, err := h.readCommand()
	if err != nil {
		return nil, err
	}
	if reason, ok := bytes.CutPrefix(body, []byte(libzmqFailing)); ok && h.o.Security.Plain != nil {
		return nil, refusal(reason)
	}
	name, data, err := splitCommand(body)
	switch {
	case err != nil:
		return nil, err
	case string(name) == want:
		return data, nil
	case string(name) == failing:
		return nil, refusal(data)
	case string(name) == hello && want == welcome:
		return nil, failf(OtherSecurity, "the peer is a %s client, and so is this socket: "+
			"one of them must be the server", h.o.Security.Mechanism())
	}
	return nil, failf(Malformed, "the peer sent %s in the handshake where %s belongs",
		quote(string(name[1:])), want[1:])
}

// readCommand reads the body of the next command.
func (h *handshake) readCommand() ([]byte, error) {
	need := shortHeader
	for {
		b := h.in.bytes()
		f, ok, err := parseHeader(b)
		switch {
		case err != nil:
			return nil, err
		case !ok && len(b) >= shortHeader:
			need = longHeader
		case ok && f.flags&flagCommand == 0:
			return nil, failf(Malformed, "the peer sent a message before the handshake was complete")
		case ok && f.size > int64(idleBuffer-f.length):
			return nil, failf(Oversized, "the peer's handshake has a command of %d bytes; at most %d are taken",
				f.size, idleBuffer-f.length)
		case ok:
			need = f.length + int(f.size)
		}
		if ok && len(b) >= need {
			h.in.r += need
			return b[f.length:need], nil
		}
		if err := h.in.fill(context.Background(), need); err != nil {
			return nil, err
		}
	}
}

// explain makes of an error one that says what happened to the handshake.
func (h *handshake) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failf(TimedOut, "the peer did not complete the handshake within %s%s", h.o.handshakeTimeout(), h.hint)
	case errors.Is(err, io.EOF):
		return failf(Ended, "the peer closed the connection during the handshake%s", h.hint)
	}
	return &Error{Ended, "the connection broke during the handshake" + h.hint, err}
}
