package zmtp

import (
	"context"
	"errors"
)

// ErrNoMemory is what Grow returns to have the message skipped: it is read and not kept.
var ErrNoMemory = errors.New("zmtp: no memory for a large message")

// Memory lends blocks to connections, for messages that do not fit into a connection's own
// buffer. A connection holds at most one block at a time.
type Memory interface {
	// Grow returns a block that begins with block[:have] and is longer than have; at best it has
	// need bytes. block is the last one that it returned for this message, which it takes back,
	// or nil: then the caller copies its have bytes itself. It may wait, until ctx is done.
	// An error ends the connection, but for ErrNoMemory.
	//
	// need is what the peer has announced, or twice what has arrived, if that is more. It is at most
	// twice Options.MaxMessage, and 128 KiB. have is what has arrived. An implementation decides
	// how far it trusts need.
	Grow(ctx context.Context, block []byte, have, need int) ([]byte, error)
	// Release takes a block back. complete tells whether the message arrived whole.
	Release(block []byte, complete bool)
}

// heap is the Memory of a connection that got none: blocks grow with what has arrived, by a
// factor of four.
type heap struct{}

func (heap) Grow(_ context.Context, block []byte, have, need int) ([]byte, error) {
	larger := make([]byte, max(min(need, 4*have), have+1))
	copy(larger, block[:min(have, len(block))])
	return larger, nil
}

func (heap) Release([]byte, bool) {}
