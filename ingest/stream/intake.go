package stream

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"fanin/ingest"
)

// Intake reads one connection into blocks of the budget. While nothing comes it
// holds no block: a short beginning of a line is laid aside, so that thousands
// of idle connections cost next to nothing. The protocol changes Block and Have only to
// use the same block again.
type Intake struct {
	Block []byte // nil, or a block whose first Have bytes are filled
	Have  int
	Until time.Time // no Read waits for longer; zero: no bound besides those of the listener

	c      *Conn
	conn   net.Conn
	raw    syscall.RawConn // nil: TLS, which only a blocking read can ask
	budget *ingest.Budget
	most   int // the largest block to ask for

	rest  []byte // the bytes before the next ones, while Block is nil
	next  int    // how large the next block should be
	small []byte // without raw: where the connection is read to
	left  int    // without raw: bytes of the kernel that are to be read yet

	heldSince time.Time // since when a long beginning of a message holds its block

	// arguments and results of the callback of raw
	onReady func(fd uintptr) bool
	onTry   func(fd uintptr)
	wait    bool
	short   bool // there are bytes to read and no memory
	got     int
	err     error
}

// Sizes of an Intake.
const (
	RestSize   = 4 << 10  // a longer beginning of a line stays in its block
	FirstBlock = 4 << 10  // what a connection that was idle gets
	turnBlock  = 16 << 10 // the largest block to wait for, if less would do: a turn is worth its cost, and soon over
	crowdBlock = 64 << 10 // the largest block when many want one
	smallSize  = 16 << 10 // holds what one TLS record does

	mostDecrypted = 64 << 10               // more than package tls reads ahead
	recordWait    = 100 * time.Millisecond // for the rest of a record of which the kernel has a part
)

// NewIntake returns the intake of a connection, with blocks of at most most bytes. It
// begins with what was read to recognize the format.
func NewIntake(c *Conn, most int) *Intake {
	in := &Intake{c: c, conn: c.Net(), budget: c.Budget, most: most, next: min(FirstBlock, most), rest: c.Head()}
	in.raw = rawConn(in.conn)
	in.onReady = in.ready
	in.onTry = func(fd uintptr) { in.ready(fd) }
	return in
}

// Settle acquires a block for the first bytes.
func (in *Intake) Settle(ctx context.Context) error {
	if len(in.rest) == 0 {
		return nil
	}
	return in.acquire(ctx, len(in.rest))
}

// acquire waits for a block of at least n bytes, and begins it with rest.
func (in *Intake) acquire(ctx context.Context, n int) error {
	if in.tryBlock(n) {
		return nil
	}
	b, err := in.budget.Acquire(ctx, max(min(in.next, turnBlock), n))
	if err == nil {
		in.begin(b)
	}
	return err
}

// ErrHeld ends a read: the beginning of a message has held its block for as long as it
// may. The protocol must use what there is of it.
var ErrHeld = errors.New("a message has begun and did not end in time, or there is no memory to wait for its end")

// Read reads once behind what is there, and returns how many bytes came. With wait it
// waits for some: what is there is then the beginning of a message. Without it, 0 means
// that there are none.
func (in *Intake) Read(ctx context.Context, wait bool) (int, error) {
	pinned := 0
	if wait {
		if pinned = in.pin(); pinned < 0 {
			return 0, ErrHeld
		}
		if !in.c.SetReadDeadline(in.deadline()) {
			return 0, os.ErrDeadlineExceeded
		}
	}
	n, err := in.Fill(ctx, wait)
	if pinned > 0 {
		in.budget.Unpin(in.c.Peer, pinned)
	}
	if n > 0 {
		in.c.Heard()
		if d := in.c.Charge(n); d > 0 {
			in.c.Sleep(d)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && pinned > 0 && !in.c.Woken() {
		return 0, ErrHeld
	}
	return n, err
}

// Unread returns how many bytes can be read at most that came already. Once the connection is to
// end, Fill without a wait reads them.
func (in *Intake) Unread() int {
	if in.raw != nil {
		return unread(in.raw)
	}
	in.left = in.c.Unread()
	return in.left + mostDecrypted
}

// Progress tells that a message has ended: the time for which the next one may hold its
// block begins anew.
func (in *Intake) Progress() { in.heldSince = time.Time{} }

// pin asks to hold a block with a long beginning of a message while nothing may come;
// < 0: the budget does not allow that.
func (in *Intake) pin() int {
	if in.Block == nil || in.Have <= RestSize {
		in.Progress()
		return 0
	}
	if in.heldSince.IsZero() {
		in.heldSince = time.Now()
	}
	if !in.budget.Pin(in.c.Peer, len(in.Block)) {
		return -1
	}
	return len(in.Block)
}

// Pause runs wait, in which the protocol waits for its peer, but not for bytes: as in a Read, what was
// read is laid aside or pinned. It reports false, and does not wait, if the budget does not allow that.
// Settle must follow.
func (in *Intake) Pause(wait func()) bool {
	if in.Block != nil && in.Have <= RestSize {
		in.Release(in.Block[:in.Have])
	}
	if n := len(in.Block); n > 0 {
		if !in.budget.Pin(in.c.Peer, n) {
			return false
		}
		defer in.budget.Unpin(in.c.Peer, n)
	}
	wait()
	return true
}

// deadline returns until when the next read may wait; zero: for ever.
func (in *Intake) deadline() time.Time {
	at := in.c.IdleDeadline()
	if !in.heldSince.IsZero() {
		at = in.heldSince.Add(in.c.Limits.FrameTimeout)
	}
	if !in.Until.IsZero() && (at.IsZero() || in.Until.Before(at)) {
		return in.Until
	}
	return at
}

// Bytes returns what was read and not handed over yet.
func (in *Intake) Bytes() []byte {
	if in.Block == nil {
		return in.rest
	}
	return in.Block[:in.Have]
}

// Full reports whether the block has no space left.
func (in *Intake) Full() bool { return in.Block != nil && in.Have == len(in.Block) }

// tryBlock acquires a block of at least n bytes, a smaller one when there is less memory, and
// begins it with rest.
func (in *Intake) tryBlock(n int) bool {
	want := in.next
	if want > crowdBlock && in.budget.Crowded() {
		want = crowdBlock
	}
	want = max(want, n)
	b := in.budget.TryAcquire(want)
	if b == nil && want > FirstBlock {
		b = in.budget.TryAcquire(max(FirstBlock, n))
	}
	if b == nil {
		return false
	}
	in.begin(b)
	return true
}

// TryBlock reports whether a Fill has a block to read into: it need not wait for memory.
func (in *Intake) TryBlock() bool { return in.Block != nil || in.tryBlock(len(in.rest)+1) }

func (in *Intake) begin(block []byte) {
	in.Block = block
	in.Have = copy(block, in.rest)
	in.rest = nil
}

// Adapt grows the next block while blocks come back full, and shrinks it when
// they do not, so that slow connections hold little memory.
func (in *Intake) Adapt() {
	switch {
	case in.Full():
		in.next = min(4*len(in.Block), in.most)
	case in.Have < len(in.Block)/8:
		in.next = max(len(in.Block)/2, min(FirstBlock, in.most))
	}
}

// Release releases the block and keeps tail, which is short.
func (in *Intake) Release(tail []byte) {
	in.rest = nil
	if len(tail) > 0 {
		in.rest = append(make([]byte, 0, len(tail)), tail...)
	}
	if in.Block != nil {
		in.budget.Release(in.Block)
	}
	in.Block, in.Have = nil, 0
}

// Detach returns the block, which the caller must release, and keeps tail.
func (in *Intake) Detach(tail []byte) (block []byte) {
	block, in.Block = in.Block, nil
	in.Release(tail)
	return block
}

// Grow moves to a larger block, if the budget allows one now.
func (in *Intake) Grow(most int) bool {
	if 2*len(in.Block) > most {
		return false
	}
	b := in.budget.TryAcquire(2 * len(in.Block))
	if b == nil {
		return false
	}
	copy(b, in.Block[:in.Have])
	in.budget.Release(in.Block)
	in.Block = b
	return true
}

// fillBlocking is fill for a connection that cannot be asked whether bytes are
// there: it waits in a small buffer of its own.
func (in *Intake) fillBlocking(ctx context.Context, wait bool) (int, error) {
	if !wait && !in.c.Woken() {
		return 0, nil
	}
	if !wait {
		in.readAhead()
	}
	if in.small == nil {
		in.small = make([]byte, smallSize)
	}
	if in.Block != nil && in.Have <= RestSize {
		in.Release(in.Block[:in.Have])
	}
	space := len(in.small)
	if in.Block != nil {
		space = min(space, len(in.Block)-in.Have)
	}
	n, err := in.conn.Read(in.small[:space])
	in.left -= n
	if !wait && errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // there is no more
	}
	if n == 0 {
		return 0, err
	}
	if in.Block == nil {
		if err := in.acquire(ctx, len(in.rest)+n); err != nil {
			return 0, err
		}
	}
	in.Have += copy(in.Block[in.Have:], in.small[:n])
	return n, nil // an error comes again with the next read
}

// readAhead makes the next read one of what came already: what the kernel had when the connection
// was to end, and what was taken from there before and not asked for yet.
func (in *Intake) readAhead() {
	until := past
	if in.left > 0 && in.c.Unread() > 0 {
		until = time.Now().Add(recordWait)
	}
	in.c.raw.SetReadDeadline(until)
}
