package tail

import (
	"context"
	"sync"
)

// pool is the memory for batches that are sent: blocks of a few sizes, together no more than
// its bound. A follower waits for its first block, and gets a second one only if it need not
// wait. So no two can wait for each other.
type pool struct {
	mu    sync.Mutex
	left  int64
	freed chan struct{}
	idle  map[int][][]byte
}

func newPool(bytes int64) *pool {
	return &pool{left: bytes, freed: make(chan struct{}), idle: make(map[int][][]byte)}
}

// try returns a block of size bytes, nil if there is no memory now.
func (p *pool) try(size int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < int64(size) {
		return nil
	}
	p.left -= int64(size)
	if n := len(p.idle[size]); n > 0 {
		b := p.idle[size][n-1]
		p.idle[size] = p.idle[size][:n-1]
		return b
	}
	return make([]byte, size)
}

// get waits for a block.
func (p *pool) get(ctx context.Context, size int) ([]byte, error) {
	for {
		p.mu.Lock()
		freed := p.freed
		p.mu.Unlock()
		if b := p.try(size); b != nil {
			return b, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// keepIdle is how many bytes of free blocks of one size are kept for the next batches.
const keepIdle = 1 << 20

// put returns a block. A few are kept for the next batches.
func (p *pool) put(b []byte) {
	if b == nil {
		return
	}
	b = b[:cap(b)]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left += int64(len(b))
	if len(p.idle[len(b)])*len(b) < keepIdle {
		p.idle[len(b)] = append(p.idle[len(b)], b)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}
