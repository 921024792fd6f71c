package agent

import (
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/wire"
)

// memory bounds what the frames of a connection take.
type memory struct {
	arrival *ingest.Arrival
	unpaid  int         // bytes that came before the welcome
	beats   *time.Timer // runs while the collector does not read
	held    held        // in flight

	announced int64 // of held: for the text that is being received
}

func (m *memory) begin(c *conn) {
	m.held.fewer.L = &m.held.mu
	m.arrival = c.Budget.Arrive(c.Peer, &c.frames.FrameClock, c.Wake)
	m.arrival.Expect(c.Unread)
	m.beats = time.AfterFunc(time.Hour, c.beat)
	m.beats.Stop()
}

// grow returns space for a text that is being received, and its labels.
func (c *conn) grow(have []byte, n int) ([]byte, error) {
	if have == nil {
		c.announced = 0
	}
	if more := ingest.TextSize(n) - c.announced; more > 0 {
		c.hold(more)
		c.announced += more
	}
	return c.arrival.Grow(c.Context(), have, n, c.wait)
}

// holdUnpacked waits until the connection may have a compressed text in flight twice, as it
// came and decompressed.
func (c *conn) holdUnpacked(p *wire.Packing) {
	if p.Encoding != wire.Plain {
		c.hold(ingest.BlockSize(p.Size()))
	}
}

// unpack decompresses a frame's text, beside the reading of other frames and, if there is memory,
// before it is the frame's turn. If it cannot, the connection ends.
func (c *conn) unpack(f *wire.Frame, turn *ingest.Turn) error {
	if f.Packing.Encoding == wire.Plain {
		return nil
	}
	n := f.Packing.Size()
	block, err := turn.Extend(c.Context(), c.Budget, n) // holdUnpacked came before
	if err == nil {
		err = c.dec.Unpack(f, block)
	} else {
		c.held.remove(ingest.BlockSize(n))
		c.free(f.Batch.Text)
	}
	if err != nil {
		c.broken.CompareAndSwap(nil, &err)
		c.Wake()
	}
	return err
}

// hold waits until the connection may have n more bytes in flight.
func (c *conn) hold(n int64) {
	if !c.held.tryAdd(n) {
		c.wait(func() error { c.held.add(n); return nil })
	}
}

func (c *conn) free(text []byte) {
	if cap(text) > 0 {
		c.held.remove(int64(cap(text)))
		c.Budget.Release(text)
	}
}

// wait runs f, in which the collector waits for itself and not for the agent: the
// frame's clock stands still, and the agent is sent words that keep it connected.
func (c *conn) wait(f func() error) error {
	c.frames.Pause()
	c.beats.Reset(c.beatEvery())
	err := f()
	c.beats.Stop()
	c.frames.Resume()
	return err
}

// beat sends a pong without a ping, as no ping is read now.
func (c *conn) beat() {
	if c.answers.write(wire.AppendPing(nil, wire.KindPong, 0)) && c.frames.Paused() {
		c.beats.Reset(c.beatEvery())
	}
}

func (c *conn) beatEvery() time.Duration { return c.p.Timeout / 3 }

// chargeOrDefer keeps to the rate of the agent's address, once the agent is welcome:
// until then it expects nothing but the welcome, and soon.
func (c *conn) chargeOrDefer(n int) {
	if c.claim == nil {
		c.unpaid += n
		return
	}
	c.charge(n)
}

// charge counts n bytes of the agent's address, and waits for as long as its rate
// requires.
func (c *conn) charge(n int) {
	if d := c.Charge(n); d > 0 {
		c.wait(func() error { c.Sleep(d); return nil })
	}
}

// maxHeld is how many bytes of one connection may be in flight: two of the largest
// frames.
const maxHeld = 8 << 20

// held counts the bytes of one connection in flight.
type held struct {
	mu    sync.Mutex
	n     int64
	fewer sync.Cond
}

// add waits until the sum stays within maxHeld, and adds n. Only the reading goroutine
// waits; what it waits for are outcomes, which always come. A compressed text and its
// content fit together.
func (h *held) add(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.n > 0 && h.n+n > maxHeld {
		h.fewer.Wait()
	}
	h.n += n
}

// tryAdd is add without waiting: it reports false if add would wait.
func (h *held) tryAdd(n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n > 0 && h.n+n > maxHeld {
		return false
	}
	h.n += n
	return true
}

func (h *held) remove(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n -= n
	h.fewer.Signal()
}
