package daemon

import (
	"errors"
	"io"
	"syscall"
)

// Ended reports whether err means that the process at the other end of a connection ended,
// or closed it, before it had answered. The kernel resets connections with unread bytes.
func Ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
