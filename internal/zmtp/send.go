package zmtp

import "net"

// Send sends one message of one or more frames. It copies it into the write buffer, and writes
// when that is full: Flush writes the rest. After an error the connection is of no use.
func (c *Conn) Send(frames ...[]byte) error {
	c.out.mu.Lock()
	defer c.out.unlock()
	for i, f := range frames {
		if err := c.out.append(moreFlag(i, frames), f); err != nil {
			return c.writeError(err)
		}
	}
	c.out.endMessage()
	return nil
}

// Flush writes what Send buffered. The kernel has taken it when Flush returns nil; whether the
// peer read it, ZMTP does not tell.
func (c *Conn) Flush() error {
	c.out.mu.Lock()
	defer c.out.unlock()
	return c.writeError(c.out.flush())
}

// Taken returns how many messages the kernel has taken completely. After an error of Send or
// Flush it tells which of the messages did not leave whole: those after the first Taken ones.
func (c *Conn) Taken() int64 { return c.out.taken.Load() }

// writeError returns the error of a write that met err.
func (c *Conn) writeError(err error) error {
	if err == nil {
		return nil
	}
	if cause := c.ended(); cause != nil && cause != net.ErrClosed {
		return cause
	}
	return err
}
