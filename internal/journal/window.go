package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// record is what becomes of one entry, or of several neighbours that yield no line.
type record struct {
	place
	text       []byte // whole lines; nil: none
	source     string
	shown      int64  // the time that the lines show, in microseconds since 1970
	missing    uint64 // entries between the one before and this one that the journal does not have
	short      bool   // the message was longer than allowed
	suppressed uint64 // messages that journald lost, as this entry says
	attributes wire.Attributes
}

// isPlain reports whether a record yields nothing but a place.
func (r *record) isPlain() bool { return r.text == nil && r.missing == 0 }

// window is entries that are sent together.
type window struct {
	records []record
	text    []byte    // holds the records' lines
	labels  int       // bytes of the records' attributes
	begun   time.Time // when the first of them was read
}

// Bounds of a window.
const (
	windowBytes   = 1 << 20
	windowRecords = 8 << 10
)

func (w *window) full() bool {
	return len(w.text)+w.labels >= windowBytes || len(w.records) >= windowRecords
}

func (w *window) reset() {
	clear(w.records)
	w.records, w.text, w.labels = w.records[:0], w.text[:0], 0
	if cap(w.text) > 2*windowBytes {
		w.text = nil
	}
}

// add adds a record. Neighbours without lines become one.
func (w *window) add(r record) {
	if len(w.records) == 0 {
		w.begun = time.Now()
	}
	if w.text == nil {
		w.text = make([]byte, 0, 64<<10)
	}
	if last := len(w.records) - 1; last >= 0 && r.isPlain() && w.records[last].isPlain() && w.records[last].id == r.id {
		w.records[last] = r
		return
	}
	if r.text != nil {
		from := len(w.text)
		w.text = append(w.text, r.text...)
		r.text = w.text[from:len(w.text):len(w.text)]
	}
	w.records, w.labels = append(w.records, r), w.labels+len(r.attributes)
}

// buffer is between the goroutine that reads and the one that sends: one window is filled
// while the other one is sent.
type buffer struct {
	heard atomic.Uint64 // entries that were read, whatever became of them
	ready chan struct{} // has an element while there may be something to take
	space chan struct{} // has an element while there may be space again

	mu      sync.Mutex
	filling *window
	sending *window
	err     error // why reading ended
}

func newBuffer() *buffer {
	return &buffer{ready: make(chan struct{}, 1), space: make(chan struct{}, 1), filling: new(window),
		sending: new(window)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add adds a record, when there is space for it.
func (b *buffer) add(ctx context.Context, r record) error {
	for {
		b.mu.Lock()
		if !b.filling.full() {
			b.filling.add(r)
			b.mu.Unlock()
			signal(b.ready)
			return nil
		}
		b.mu.Unlock()
		select {
		case <-b.space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end ends the buffer: what was added can still be taken.
func (b *buffer) end(err error) {
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
	signal(b.ready)
}

// take returns what was added since the last call, and waits for it. The window is valid
// until the next call. The error is errSilent if nothing at all was read for a while.
func (b *buffer) take(ctx context.Context, patience time.Duration) (*window, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	heard := b.heard.Load()
	for {
		b.mu.Lock()
		if pause := b.gatherLocked(); pause > 0 {
			b.mu.Unlock()
			if err := retry.Pause(ctx, pause); err != nil {
				return nil, err
			}
			continue
		}
		if len(b.filling.records) > 0 {
			b.sending.reset()
			b.filling, b.sending = b.sending, b.filling
			w := b.sending
			b.mu.Unlock()
			signal(b.space)
			return w, nil
		}
		err := b.err
		b.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			if now := b.heard.Load(); now != heard {
				heard = now
				timer.Reset(patience)
				continue
			}
			return nil, errSilent
		}
	}
}

// gather is how long entries wait for others: each commit costs as much as many entries do.
const gather = 5 * time.Millisecond

// gatherLocked is how long the entries that are there wait for others; not above 0: they do not.
func (b *buffer) gatherLocked() time.Duration {
	if w := b.filling; len(w.records) > 0 && !w.full() && b.err == nil {
		return gather - time.Since(w.begun)
	}
	return 0
}
