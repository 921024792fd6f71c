package plain

import (
	"context"
	"fanin/ingest"
	"net"
	"syscall"
)

// intake reads one connection into blocks of the budget. While nothing comes it
// holds no block: a short beginning of a line is laid aside, so that thousands
// of idle connections cost next to nothing.
type intake struct {
	conn   net.Conn
	raw    syscall.RawConn // nil: TLS, which only a blocking read can ask
	budget *ingest.Budget
	most   int // the largest block to ask for

	block []byte // nil, or a block whose first have bytes are filled
	have  int
	rest  []byte // the bytes before the next ones, while block is nil
	next  int    // how large the next block should be
	small []byte // without raw: where the connection is read to

	// arguments and results of the callback of raw
	onReady func(fd uintptr) bool
	onTry   func(fd uintptr)
	wait    bool
	short   bool // there are bytes to read and no memory
	got     int
	err     error
}

const (
	restSize   = 4 << 10  // a longer beginning of a line stays in its block
	firstBlock = 4 << 10  // what a connection that was idle gets
	crowdBlock = 64 << 10 // the largest block when many want one
	smallSize  = 16 << 10 // holds what one TLS record does
)

// newIntake returns an intake of a connection of which head was read already.
func newIntake(conn net.Conn, budget *ingest.Budget, most int, head []byte) *intake {
	in := &intake{conn: conn, budget: budget, most: most, next: min(firstBlock, most), rest: head}
	in.raw = rawConn(conn)
	in.onReady = in.ready
	in.onTry = func(fd uintptr) { in.ready(fd) }
	return in
}

// settle acquires a block for the first bytes.
func (in *intake) settle(ctx context.Context) error {
	if len(in.rest) == 0 {
		return nil
	}
	b, err := in.budget.Acquire(ctx, max(in.next, len(in.rest)))
	if err == nil {
		in.begin(b)
	}
	return err
}

// bytes returns what was read and not handed over yet.
func (in *intake) bytes() []byte {
	if in.block == nil {
		return in.rest
	}
	return in.block[:in.have]
}

// full reports whether the block has no space left.
func (in *intake) full() bool { return in.block != nil && in.have == len(in.block) }

// tryBlock acquires a block, a smaller one when there is less memory, and begins it with
// rest.
func (in *intake) tryBlock() bool {
	want := in.next
	if want > crowdBlock && in.budget.Crowded() {
		want = crowdBlock
	}
	want = max(want, len(in.rest)+1)
	b := in.budget.TryAcquire(want)
	if b == nil && want > firstBlock {
		b = in.budget.TryAcquire(max(firstBlock, len(in.rest)+1))
	}
	if b == nil {
		return false
	}
	in.begin(b)
	return true
}

func (in *intake) begin(block []byte) {
	in.block = block
	in.have = copy(block, in.rest)
	in.rest = nil
}

// adapt grows the next block while blocks come back full, and shrinks it when
// they do not, so that slow connections hold little memory.
func (in *intake) adapt() {
	switch {
	case in.full():
		in.next = min(4*len(in.block), in.most)
	case in.have < len(in.block)/8:
		in.next = max(len(in.block)/2, min(firstBlock, in.most))
	}
}

// release releases the block and keeps tail, which is short.
func (in *intake) release(tail []byte) {
	in.rest = nil
	if len(tail) > 0 {
		in.rest = append(make([]byte, 0, len(tail)), tail...)
	}
	if in.block != nil {
		in.budget.Release(in.block)
	}
	in.block, in.have = nil, 0
}

// detach returns the block, which the caller must release, and keeps tail.
func (in *intake) detach(tail []byte) (block []byte) {
	block, in.block = in.block, nil
	in.release(tail)
	return block
}

// grow moves to a larger block, if the budget allows one now.
func (in *intake) grow(most int) bool {
	if 2*len(in.block) > most {
		return false
	}
	b := in.budget.TryAcquire(2 * len(in.block))
	if b == nil {
		return false
	}
	copy(b, in.block[:in.have])
	in.budget.Release(in.block)
	in.block = b
	return true
}

// fillBlocking is fill for a connection that cannot be asked whether bytes are
// there: it waits in a small buffer of its own.
func (in *intake) fillBlocking(ctx context.Context, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	if in.small == nil {
		in.small = make([]byte, smallSize)
	}
	if in.block != nil && in.have <= restSize {
		in.release(in.block[:in.have])
	}
	space := len(in.small)
	if in.block != nil {
		space = min(space, len(in.block)-in.have)
	}
	n, err := in.conn.Read(in.small[:space])
	if n == 0 {
		return 0, err
	}
	if in.block == nil {
		b, err := in.budget.Acquire(ctx, max(in.next, len(in.rest)+n))
		if err != nil {
			return 0, err
		}
		in.begin(b)
	}
	in.have += copy(in.block[in.have:], in.small[:n])
	return n, nil // an error comes again with the next read
}
