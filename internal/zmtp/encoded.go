package zmtp

import "encoding/binary"

// AppendMessage appends a message of one or more frames, encoded: as it travels where
// nothing is encrypted. So one encoding serves many connections, see SendEncoded.
func AppendMessage(b []byte, frames ...[]byte) []byte {
	for i, f := range frames {
		var more byte
		if i < len(frames)-1 {
			more = 1
		}
		if len(f) <= 255 {
			b = append(b, more, byte(len(f)))
		} else {
			b = binary.BigEndian.AppendUint64(append(b, more|2), uint64(len(f)))
		}
		b = append(b, f...)
	}
	return b
}

// SendEncoded sends whole messages as AppendMessage encoded them; n is how many. It is
// Send for each of them: it returns when they are written or copied into the write buffer,
// Flush writes what was copied, and Taken counts them. A large b is written from where it
// is. Where messages are encrypted, each is taken out of b and encrypted.
func (c *Conn) SendEncoded(b []byte, n int) error { return errTodo }
