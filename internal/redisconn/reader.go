package redisconn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reader reads the replies of a server, of RESP2 and RESP3 alike. Each of them is one line
// that ends in CR LF, and more for bulk strings and lists:
//
//	+OK            -ERR text        :42              _  null     #t  boolean
//	$5             *2  array        %1  map: 2 each  ~2 set      >3  push
//	hello          (2 replies)      (2 replies)      |1 attribute, before a reply
//	$-1, *-1 null  ,1.5 double      (123 big number  =9 verbatim: "txt:" and text  !9 error
//
// (Redis serialization protocol specification; RESP3 by its own. Its streamed strings and
// lists, "$?" and "*?", are sent by no server.)
//
// The server claims lengths, and they are not believed. Memory grows with the bytes that
// came. A string that is longer than MaxBulk is read and thrown away, and so are all further
// strings of a reply that has more than MaxReply bytes. A list is skipped likewise once the
// reply has more than 524,288 elements. A length of more than 4 GiB, a list of more than
// 268 million elements, a reply with more than that, lists 32 deep, a line of 64 KiB and
// anything that is no reply are errors: what follows cannot be trusted.
type Reader struct {
	MaxBulk  int         // the longest string that is kept; default 1 MiB
	MaxReply int         // the most bytes of one reply; default 8 MiB, and twice MaxBulk at least
	Skipped  func(int64) // a string of so many bytes was longer than MaxBulk; may be nil

	maxNodes int // nodesLimit

	in    *bufio.Reader
	nodes []node
	text  []byte
	parts int  // headers of this reply
	over  bool // something in this reply was left out because of the size of the whole
	drop  bool // the list at hand is being skipped, with all in it
}

const (
	lineLimit  = 64 << 10 // bytes of a line, and of the buffer
	bulkLimit  = 1 << 32
	partsLimit = 1 << 28
	nodesLimit = 1 << 19
	depthLimit = 32

	attributesLimit = 64

	keepText  = 1 << 20 // what a Reader keeps for the next reply
	keepNodes = 1 << 16
)

// NewReader returns a Reader of what src sends. Zero limits take the defaults.
func NewReader(src io.Reader, maxBulk, maxReply int, skipped func(int64)) *Reader {
	if maxBulk <= 0 {
		maxBulk = 1 << 20
	}
	if maxReply <= 0 {
		maxReply = 8 << 20
	}
	return &Reader{MaxBulk: maxBulk, MaxReply: max(maxReply, 2*maxBulk), Skipped: skipped,
		maxNodes: nodesLimit, in: bufio.NewReaderSize(src, lineLimit)}
}

// Next reads the next reply. It is valid until the next call. An error of src is returned
// as it is; *ProtocolError is what the server did wrong.
func (r *Reader) Next() (Value, error) {
	if cap(r.text) > keepText {
		r.text = nil
	}
	if cap(r.nodes) > keepNodes {
		r.nodes = nil
	}
	r.nodes, r.text, r.parts, r.over, r.drop = r.nodes[:0], r.text[:0], 0, false, false
	if err := r.value(0); err != nil {
		return Value{}, err
	}
	return Value{r, 0}, nil
}

// Overflowed reports whether something was skipped because the whole reply was too large,
// such as a string that is no longer than MaxBulk: ask for fewer at a time.
func (r *Reader) Overflowed() bool { return r.over }

// Buffered returns how many bytes were read from src and not used yet.
func (r *Reader) Buffered() int { return r.in.Buffered() }

// value reads a reply, or an element of one, and appends it to the nodes.
func (r *Reader) value(depth int) error {
	for attributes := 0; ; attributes++ {
		line, err := r.line()
		if err != nil {
			return err
		}
		if r.parts++; r.parts > partsLimit {
			return protocolErrorf("a reply has more than %d elements", partsLimit)
		}
		if line[0] != '|' {
			return r.typed(line[0], line[1:], depth)
		}
		if attributes == attributesLimit {
			return protocolErrorf("a reply has more than %d attributes at one place", attributesLimit)
		}
		// An attribute tells something about the reply behind it that was not asked for.
		nodes, text := len(r.nodes), len(r.text)
		if err := r.list(list, line[1:], 2, depth); err != nil {
			return err
		}
		r.nodes, r.text = r.nodes[:nodes], r.text[:text]
	}
}

// typed reads a reply whose line is known.
func (r *Reader) typed(typ byte, rest []byte, depth int) error {
	switch typ {
	case '+', ',', '(':
		return r.short(text, rest)
	case '-':
		return r.short(failure, rest)
	case ':':
		n, err := number(rest)
		r.add(node{kind: integer, n: n})
		return err
	case '#':
		if len(rest) != 1 || rest[0] != 't' && rest[0] != 'f' {
			return protocolErrorf("%q is no boolean", clip(rest))
		}
		x := node{kind: integer}
		if rest[0] == 't' {
			x.n = 1
		}
		r.add(x)
		return nil
	case '_':
		r.add(node{})
		return nil
	case '$', '=', '!':
		return r.bulk(typ, rest)
	case '*', '~':
		return r.list(list, rest, 1, depth)
	case '%':
		return r.list(list, rest, 2, depth)
	case '>':
		return r.list(push, rest, 1, depth)
	}
	return protocolErrorf("%q is no reply of a Redis server: is this the port of another program?",
		clip(append([]byte{typ}, rest...)))
}

// add appends a node that has no elements.
func (r *Reader) add(n node) {
	if r.drop {
		return
	}
	n.next = int32(len(r.nodes)) + 1
	r.nodes = append(r.nodes, n)
}

// line reads a line, without its end. It is valid until more is read.
func (r *Reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, protocolErrorf("a line has more than %d bytes, and begins with %q", lineLimit, clip(line))
	case err != nil:
		if err == io.EOF && (len(line) > 0 || r.parts > 0) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return nil, protocolErrorf("%q is no reply of a Redis server: is this the port of another program?", clip(line))
	}
	return line[:len(line)-2], nil
}

// short keeps a string or an error of one line.
func (r *Reader) short(k kind, b []byte) error {
	if r.drop {
		return nil
	}
	if len(r.text)+len(b) > r.MaxReply {
		r.over = true
		r.add(node{kind: skipped, n: int64(len(b))})
		return nil
	}
	r.add(node{kind: k, n: int64(len(b)), at: int32(len(r.text))})
	r.text = append(r.text, b...)
	return nil
}

// bulk reads a string that has a length.
func (r *Reader) bulk(typ byte, rest []byte) error {
	n, err := number(rest)
	switch {
	case err != nil:
		return err
	case n == -1 && typ == '$':
		r.add(node{})
		return nil
	case n < 0 || n > bulkLimit:
		return protocolErrorf("a string of %d bytes is announced", n)
	case r.drop || n > int64(r.MaxBulk) || int64(len(r.text))+n > int64(r.MaxReply):
		return r.skip(n)
	}
	at := len(r.text)
	if err := r.fill(int(n)); err != nil {
		return err
	}
	k := text
	switch typ {
	case '!':
		k = failure
	case '=': // three bytes that name a format, and a colon
		if n < 4 || r.text[at+3] != ':' {
			return protocolErrorf("%q is no verbatim string", clip(r.text[at:]))
		}
		at, n = at+4, n-4
	}
	r.add(node{kind: k, n: n, at: int32(at)})
	return r.end()
}

// fill appends n bytes to the text, as they come.
func (r *Reader) fill(n int) error {
	for n > 0 {
		b, err := r.in.Peek(min(n, max(r.in.Buffered(), 1)))
		if err != nil {
			return unexpected(err)
		}
		r.text = append(r.text, b...)
		r.in.Discard(len(b))
		n -= len(b)
	}
	return nil
}

// skip reads a string and throws it away.
func (r *Reader) skip(n int64) error {
	for left := n; left > 0; {
		k, err := r.in.Discard(int(min(left, 1<<20)))
		if err != nil {
			return unexpected(err)
		}
		left -= int64(k)
	}
	if n <= int64(r.MaxBulk) {
		r.over = true
	} else if r.Skipped != nil {
		r.Skipped(n)
	}
	r.add(node{kind: skipped, n: n})
	return r.end()
}

// end reads what must follow a string that has a length.
func (r *Reader) end() error {
	b, err := r.in.Peek(2)
	if err != nil {
		return unexpected(err)
	}
	if b[0] != '\r' || b[1] != '\n' {
		return protocolErrorf("%q follows a string instead of its end", clip(b))
	}
	r.in.Discard(2)
	return nil
}

// list reads a list of n times each elements, n being in its line.
func (r *Reader) list(k kind, rest []byte, each int64, depth int) error {
	n, err := number(rest)
	switch {
	case err != nil:
		return err
	case n == -1 && k == list && each == 1:
		r.add(node{})
		return nil
	case n < 0 || n > partsLimit:
		return protocolErrorf("a list of %d elements is announced; at most %d are read", n, partsLimit)
	case depth == depthLimit:
		return protocolErrorf("a reply has lists inside of lists, more than %d deep", depthLimit)
	}
	n *= each
	at, text, dropped := len(r.nodes), len(r.text), r.drop
	r.add(node{kind: k, n: n})
	for range n {
		if len(r.nodes) >= r.maxNodes {
			r.drop = true // the rest of this list is read, and all of it is skipped
		}
		if err := r.value(depth + 1); err != nil {
			return unexpected(err)
		}
	}
	switch {
	case dropped: // with the list around it
	case r.drop:
		r.drop, r.over = false, true
		r.nodes, r.text = r.nodes[:at], r.text[:text]
		r.add(node{kind: skipped, n: n})
	default:
		r.nodes[at].next = int32(len(r.nodes))
	}
	return nil
}

// number reads an integer as servers write it.
func number(b []byte) (n int64, err error) {
	digits := b
	if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, protocolErrorf("%q is no number", clip(b))
	}
	var u uint64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, protocolErrorf("%q is no number", clip(b))
		}
		u = u*10 + uint64(d-'0')
	}
	switch negative := b[0] == '-'; {
	case negative && u <= 1<<63:
		return -int64(u), nil
	case negative || u >= 1<<63:
		return 0, protocolErrorf("%q is no number", clip(b))
	}
	return int64(u), nil
}

// ProtocolError is what a server sent against the protocol. Nothing that follows it can be
// understood, so it ends the connection.
type ProtocolError struct{ Text string }

// Error describes what the server sent.
func (e *ProtocolError) Error() string { return e.Text }

func protocolErrorf(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}

// unexpected is the error of a connection that ends inside of a reply.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// clip is the beginning of what a server sent, for a message.
func clip(b []byte) []byte {
	b, _, _ = bytes.Cut(b, []byte("\r\n"))
	return bytes.Clone(b[:min(len(b), 40)])
}
