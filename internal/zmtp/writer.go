package zmtp

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstOut = 512      // holds a PONG, a request, a few messages
	maxOut   = 16 << 10 // a writer's buffer is written when it would become larger
	maxEnds  = 256      // encrypted messages in it
)

// writer writes frames. Its buffer has whole frames, so commands may follow it at any time.
type writer struct {
	nc      net.Conn
	box     *box // nil: not encrypted
	timeout time.Duration
	taken   atomic.Int64 // messages that the kernel has taken completely

	mu    sync.Mutex
	buf   []byte
	ended int   // messages that end in buf
	ends  []int // where, if they are encrypted
	err   error // of the write that failed

	owes sync.Mutex
	owed []byte // the context of a PING to be answered; nil: none
}

// append appends one frame to the buffer, or writes a large one.
func (w *writer) append(flags byte, body []byte) error {
	if w.box != nil {
		if err := w.makeSpace(len(body) + longHeader + boxOverhead); err != nil {
			return err
		}
		w.buf = w.box.appendFrame(w.buf, flags, body)
		return nil
	}
	if err := w.makeSpace(min(len(body), maxOut) + longHeader); err != nil {
		return err
	}
	w.buf = appendHeader(w.buf, flags, len(body))
	if len(body) <= maxOut {
		w.buf = append(w.buf, body...)
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.write(body, 0)
}

// makeSpace writes the buffer if n more bytes are too many for it.
func (w *writer) makeSpace(n int) error {
	if w.err != nil {
		return w.err
	}
	if len(w.buf) > 0 && (len(w.buf)+n > maxOut || len(w.ends) >= maxEnds) {
		return w.flush()
	}
	return nil
}

// endMessage notes that a message ends here.
func (w *writer) endMessage() {
	if len(w.buf) == 0 {
		w.taken.Add(1)
		return
	}
	w.ended++
	if w.box != nil {
		w.ends = append(w.ends, len(w.buf))
	}
}

// flush writes the buffer.
func (w *writer) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	err := w.write(w.buf, w.ended)
	w.buf, w.ended, w.ends = w.buf[:0], 0, w.ends[:0]
	if cap(w.buf) > 2*maxOut {
		w.buf = nil
	}
	return err
}

// write writes b: the buffer, or else encoded messages, of which whole ones end in it.
func (w *writer) write(b []byte, whole int) error {
	if w.timeout > 0 {
		w.nc.SetWriteDeadline(time.Now().Add(w.timeout))
	}
	n, err := w.nc.Write(b)
	if err == nil {
		w.taken.Add(int64(whole))
		return nil
	}
	w.taken.Add(int64(w.messages(b, n)))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Error{Unread, "the peer does not read: nothing could be written to it for " + w.timeout.String(), err}
	}
	w.err = err
	return err
}

// messages returns how many messages end in the first n bytes of b.
func (w *writer) messages(b []byte, n int) (count int) {
	if w.box != nil {
		for count < len(w.ends) && w.ends[count] <= n {
			count++
		}
		return count
	}
	for at := 0; ; {
		h, ok, err := parseHeader(b[at:])
		if at += h.length + int(h.size); !ok || err != nil || at > n {
			return count
		}
		if h.flags&(flagMore|flagCommand) == 0 {
			count++
		}
	}
}

// command writes a command and what is in the buffer before it. The caller holds mu.
func (w *writer) command(name string, data ...[]byte) error {
	if err := w.makeSpace(maxContext + 64); err != nil {
		return err
	}
	if w.box != nil {
		body := []byte(name)
		for _, d := range data {
			body = append(body, d...)
		}
		w.buf = w.box.appendFrame(w.buf, flagCommand, body)
	} else {
		w.buf = appendCommand(w.buf, name, data...)
	}
	return w.flush()
}

// unlock ends the use of the buffer, after it paid the answer to a PING that came meanwhile.
func (w *writer) unlock() {
	for {
		err := w.pay()
		w.mu.Unlock()
		w.owes.Lock()
		owed := w.owed != nil
		w.owes.Unlock()
		if err != nil || !owed || !w.mu.TryLock() {
			return // if another one holds mu, it pays
		}
	}
}

// pay answers the PING that came while another one held mu.
func (w *writer) pay() error {
	w.owes.Lock()
	context := w.owed
	w.owed = nil
	w.owes.Unlock()
	if context == nil {
		return w.err
	}
	return w.command(pong, context)
}

// answer answers a PING, now or when the one that writes is done: a peer that reads nothing does
// not keep the reader waiting.
func (w *writer) answer(context []byte) {
	w.owes.Lock()
	w.owed = append(make([]byte, 0, maxContext), context...)
	w.owes.Unlock()
	if w.mu.TryLock() {
		w.unlock()
	}
}
