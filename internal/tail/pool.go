package tail

import (
	queue "container/list"
	"context"
	"sync"
)

// pool is the memory for batches that are sent: blocks of a few sizes, together no more than
// its bound. A follower waits for its first block, and gets more only if it need not
// wait. So no two can wait for each other. Those that wait get blocks in the order in which
// they asked: of thousands, one is woken and not all.
type pool struct {
	mu      sync.Mutex
	left    int64
	waiting *queue.List // of *poolWait
	idle    map[int][][]byte
}

// poolWait waits for a block.
type poolWait struct {
	size  int
	block chan []byte // with space for it
}

func newPool(bytes int64) *pool {
	return &pool{left: bytes, waiting: queue.New(), idle: make(map[int][][]byte)}
}

// try returns a block of size bytes, nil if there is no memory now, or others wait for it.
func (p *pool) try(size int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting.Len() > 0 {
		return nil
	}
	return p.takeLocked(size)
}

func (p *pool) takeLocked(size int) []byte {
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
	w := &poolWait{size, make(chan []byte, 1)}
	p.mu.Lock()
	place := p.waiting.PushBack(w)
	p.serveLocked()
	p.mu.Unlock()
	select {
	case b := <-w.block:
		return b, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case b := <-w.block: // meanwhile
		p.putLocked(b)
	default:
		p.waiting.Remove(place)
	}
	p.serveLocked()
	return nil, ctx.Err()
}

// serveLocked gives blocks to those that wait, as long as there is memory for the first.
func (p *pool) serveLocked() {
	for e := p.waiting.Front(); e != nil; e = p.waiting.Front() {
		w := e.Value.(*poolWait)
		b := p.takeLocked(w.size)
		if b == nil {
			return
		}
		p.waiting.Remove(e)
		w.block <- b
	}
}

// keepIdle is how many bytes of free blocks of one size are kept for the next batches.
const keepIdle = 1 << 20

// put returns a block. A few are kept for the next batches.
func (p *pool) put(b []byte) {
	if b == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.putLocked(b)
	p.serveLocked()
}

func (p *pool) putLocked(b []byte) {
	b = b[:cap(b)]
	p.left += int64(len(b))
	if len(p.idle[len(b)])*len(b) < keepIdle {
		p.idle[len(b)] = append(p.idle[len(b)], b)
	}
}
