package zmtp

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// The read buffer of a connection grows with what arrives, and shrinks while little does, so that
// idle connections cost little. A message that does not fit into maxBuffer is read into a block
// of Memory.
const (
	firstBuffer = 512      // holds a greeting and most handshakes
	idleBuffer  = 2 << 10  // what a handshake may use at most, and a connection that says little
	maxBuffer   = 32 << 10 // the largest buffer of a connection's own
	quietReads  = 16       // a buffer that so many reads in a row did not fill to an eighth is too large
)

// buffer reads a connection. Its bytes are buf[r:w].
type buffer struct {
	nc   net.Conn
	mem  Memory
	most int  // the largest buffer of the connection's own: idleBuffer until the handshake is complete
	half bool // own buffers are read into their first half only: CURVE opens boxes into the other one

	buf   []byte
	r, w  int
	own   []byte // the buffer of the connection's own while buf is a block of mem, else nil
	full  bool   // the last read filled all there was
	quiet int    // reads in a row that brought little

	began time.Time
	waits atomic.Int64 // since when a read has waited for the peer, in ns after began; 0: none does
}

func newBuffer(nc net.Conn, mem Memory) *buffer {
	if mem == nil {
		mem = heap{}
	}
	return &buffer{nc: nc, mem: mem, most: idleBuffer, buf: make([]byte, firstBuffer), began: time.Now()}
}

// bytes returns what has been read and not taken yet.
func (b *buffer) bytes() []byte { return b.buf[b.r:b.w] }

// waiting returns since when a read has waited for the peer, zero if none does.
func (b *buffer) waiting() (since time.Time) {
	if ns := b.waits.Load(); ns != 0 {
		since = b.began.Add(time.Duration(ns))
	}
	return since
}

// fill reads at least one more byte. need is how many bytes from r on are wanted; it is more than
// there are.
func (b *buffer) fill(ctx context.Context, need int) error {
	if b.own == nil {
		b.fit()
	}
	if err := b.reserve(ctx, need); err != nil {
		return err
	}
	b.waits.Store(max(int64(time.Since(b.began)), 1))
	n, err := b.nc.Read(b.buf[b.w:b.bound(need)])
	b.waits.Store(0)
	b.w += n
	b.full = b.w == b.bound(need)
	if 8*n > len(b.buf) {
		b.quiet = 0
	} else {
		b.quiet++
	}
	if n > 0 {
		return nil // an error comes again with the next read
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// usable returns how much of buf is for what is read.
func (b *buffer) usable() int {
	if b.half && b.own == nil {
		return len(b.buf) / 2
	}
	return len(b.buf)
}

// bound returns up to where to read. A block gets what is wanted and nothing more, so it is empty
// when its message has been taken.
func (b *buffer) bound(need int) int {
	if b.own != nil {
		return min(len(b.buf), need) // r is 0 in a block
	}
	return b.usable()
}

// fit makes a buffer as large as what arrives suggests, and all of it available: the beginning
// of a message, which most reads leave, moves to the front.
func (b *buffer) fit() {
	switch {
	case b.full && len(b.buf) < b.most:
		b.full = false
		b.enlarge(len(b.buf) + 1)
	case b.r == b.w && b.quiet >= quietReads && len(b.buf) > idleBuffer:
		b.buf = make([]byte, idleBuffer)
		b.r, b.w, b.quiet = 0, 0, 0
	default:
		b.compact()
	}
}

// reserve makes space for need bytes from r on, or at least for one more.
func (b *buffer) reserve(ctx context.Context, need int) error {
	if b.r+need <= b.usable() || b.own != nil && b.w < len(b.buf) {
		return nil
	}
	b.compact()
	if need <= b.usable() {
		return nil
	}
	whole := need
	if b.half {
		whole = 2 * need
	}
	if b.own == nil && whole <= b.most {
		b.enlarge(whole)
		return nil
	}
	return b.lend(ctx, need)
}

// scratch returns n bytes of buf behind what has been read.
func (b *buffer) scratch(ctx context.Context, n int) ([]byte, error) {
	if len(b.buf)-b.w < n {
		b.compact()
	}
	if len(b.buf)-b.w < n && b.own == nil && b.w+n <= b.most {
		b.enlarge(b.w + n)
	}
	for len(b.buf)-b.w < n {
		if err := b.lend(ctx, b.w+n); err != nil {
			return nil, err
		}
	}
	return b.buf[b.w : b.w+n], nil
}

// compact moves what has not been taken to the beginning of the buffer.
func (b *buffer) compact() {
	if b.r > 0 {
		b.w = copy(b.buf, b.bytes())
		b.r = 0
	}
}

// enlarge gives the connection a larger buffer of its own, of at least n bytes.
func (b *buffer) enlarge(n int) {
	larger := make([]byte, b.sizeFor(n))
	b.w = copy(larger, b.bytes())
	b.r = 0
	b.buf = larger
}

// sizeFor returns the size of an own buffer that holds n bytes.
func (b *buffer) sizeFor(n int) int {
	for size := firstBuffer; ; size *= 4 {
		if size >= n || size >= b.most {
			return size
		}
	}
}

// lend moves to a block of Memory, or to a larger one. r is 0, and stays so. A message of many
// small frames doubles its block too, so it is not copied for each of them.
func (b *buffer) lend(ctx context.Context, need int) error {
	var block []byte
	if b.own != nil {
		block = b.buf
	}
	larger, err := b.mem.Grow(ctx, block, b.w, max(need, 2*b.w))
	if err != nil {
		return err
	}
	if b.own == nil {
		b.own = b.buf
		copy(larger, b.own[:b.w])
	}
	b.buf = larger
	return nil
}

// settle gives a block back once what was in it has been taken.
func (b *buffer) settle(complete bool) {
	if b.own == nil {
		return
	}
	b.mem.Release(b.buf, complete)
	b.buf, b.own = b.own, nil
	b.r, b.w = 0, 0
}

// keep drops the next n bytes, and moves those behind them, which are few, to the connection's own
// buffer.
func (b *buffer) keep(n int) {
	b.r += n
	if b.own == nil {
		return
	}
	rest := append([]byte(nil), b.bytes()...)
	b.settle(false)
	if 2*len(rest) > len(b.buf) {
		b.enlarge(2 * len(rest))
	}
	b.w = copy(b.buf, rest)
}
