package zmtp

import "errors"

// AppendMessage appends a message of one or more frames, encoded: as it travels where
// nothing is encrypted. So one encoding serves many connections, see SendEncoded.
func AppendMessage(b []byte, frames ...[]byte) []byte {
	for i, f := range frames {
		b = append(appendHeader(b, moreFlag(i, frames), len(f)), f...)
	}
	return b
}

// moreFlag returns the flags of frame i of a message.
func moreFlag(i int, frames [][]byte) byte {
	if i < len(frames)-1 {
		return flagMore
	}
	return 0
}

// SendEncoded sends whole messages as AppendMessage encoded them; n is how many. It is
// Send for each of them: it returns when they are written or copied into the write buffer,
// Flush writes what was copied, and Taken counts them. A large b is written from where it
// is. Where messages are encrypted, each is taken out of b and encrypted.
func (c *Conn) SendEncoded(b []byte, n int) error {
	c.out.mu.Lock()
	defer c.out.unlock()
	return c.writeError(c.out.appendEncoded(b, n))
}

// appendEncoded appends n encoded messages, or writes them if they are large.
func (w *writer) appendEncoded(b []byte, n int) error {
	if w.box == nil && len(b) > maxOut {
		if err := w.flush(); err != nil {
			return err
		}
		return w.writeMessages(b, n)
	}
	for len(b) > 0 {
		h, ok, err := parseHeader(b)
		if err != nil || !ok {
			return errors.New("zmtp: SendEncoded needs whole messages")
		}
		end := h.length + int(h.size)
		if err := w.append(h.flags&flagMore, b[h.length:end]); err != nil {
			return err
		}
		if b = b[end:]; h.flags&flagMore == 0 {
			w.endMessage()
		}
	}
	return nil
}
