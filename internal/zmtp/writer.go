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

	writePiece = 64 << 10 // bytes that must be taken within the timeout

	maxOwed = 8 // of more PINGs that wait, the last are answered
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
	owed [][]byte // the contexts of PINGs to be answered, at most maxOwed
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
	_, err := w.write(body) // no message ends in it: endMessage counts
	return err
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
	err := w.writeMessages(w.buf, w.ended)
	w.buf, w.ended, w.ends = w.buf[:0], 0, w.ends[:0]
	if cap(w.buf) > 2*maxOut {
		w.buf = nil
	}
	return err
}

// writeMessages writes b: the buffer, or else encoded messages. whole is how many end in it.
func (w *writer) writeMessages(b []byte, whole int) error {
	n, err := w.write(b)
	if err != nil {
		whole = w.messages(b[:n])
	}
	w.taken.Add(int64(whole))
	return err
}

// write writes b, and returns how much of it the kernel has taken. The timeout is for each piece,
// so that a large message has the time it needs while the peer reads.
func (w *writer) write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		if w.timeout > 0 {
			w.nc.SetWriteDeadline(time.Now().Add(w.timeout))
		}
		var taken int
		taken, err = w.nc.Write(b[n:min(n+writePiece, len(b))])
		n += taken
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Error{Unread, "the peer does not read: nothing could be written to it for " + w.timeout.String(), err}
	}
	w.err = err
	return n, err
}

// messages returns how many messages end in b, which may end anywhere in the frames that were to
// be written.
func (w *writer) messages(b []byte) (count int) {
	if w.box != nil {
		for count < len(w.ends) && w.ends[count] <= len(b) {
			count++
		}
		return count
	}
	for {
		h, ok, err := parseHeader(b)
		if !ok || err != nil || h.size > int64(len(b)-h.length) {
			return count
		}
		b = b[h.length+int(h.size):]
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

// unlock ends the use of the buffer, after it paid the answers to PINGs that came meanwhile.
func (w *writer) unlock() {
	for {
		err := w.pay()
		w.mu.Unlock()
		w.owes.Lock()
		owed := len(w.owed) > 0
		w.owes.Unlock()
		if err != nil || !owed || !w.mu.TryLock() {
			return // if another one holds mu, it pays
		}
	}
}

// pay answers the PINGs that came while another one held mu.
func (w *writer) pay() error {
	w.owes.Lock()
	contexts := w.owed
	w.owed = nil
	w.owes.Unlock()
	for _, context := range contexts {
		if err := w.command(pong, context); err != nil {
			return err
		}
	}
	return w.err
}

// answer answers a PING, now or when the one that writes is done. The reader does not wait for a peer
// that reads nothing: it may hold memory that others need.
func (w *writer) answer(context []byte) {
	w.owes.Lock()
	if len(w.owed) == maxOwed {
		w.owed = w.owed[1:]
	}
	w.owed = append(w.owed, append(make([]byte, 0, maxContext), context...))
	w.owes.Unlock()
	if w.mu.TryLock() {
		go w.unlock() // ends with its writes, at the latest when the connection is closed
	}
}
