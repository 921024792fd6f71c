// Package msgpack reads MessagePack elements one after the other. The first error is
// kept, and each read after it returns a zero value, so that a frame is read as one
// list and checked once.
package msgpack

import (
	"errors"
	"fmt"
	"io"

	"github.com/tinylib/msgp/msgp"
)

// FormatError is of bytes that are not what the reader wants: another type, another
// length, or more than a limit allows.
type FormatError struct{ Reason string }

// Error is the reason.
func (e *FormatError) Error() string { return e.Reason }

// Errorf is a FormatError.
func Errorf(format string, args ...any) error { return &FormatError{fmt.Sprintf(format, args...)} }

// IsFormat reports whether err is about what was read, not about reading it.
func IsFormat(err error) bool {
	var wrong msgp.Error
	var format *FormatError
	return errors.As(err, &format) || errors.As(err, &wrong) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// Stream reads from a connection. What a length claims is checked before memory is
// made for it.
type Stream struct {
	R   *msgp.Reader
	Err error // the first; the caller may reset it
}

// NewStream reads from r through a buffer of size bytes.
func NewStream(r io.Reader, size int) *Stream { return &Stream{R: msgp.NewReaderSize(r, size)} }

// Fail makes an error of what was read, unless there is one already.
func (s *Stream) Fail(format string, args ...any) {
	if s.Err == nil {
		s.Err = Errorf(format, args...)
	}
}

// next reads an element, unless there was an error.
func next[T any](s *Stream, read func() (T, error)) (v T) {
	if s.Err == nil {
		v, s.Err = read()
	}
	return v
}

// Array is the length of an array that begins here, at most most.
func (s *Stream) Array(most uint32) uint32 {
	n := next(s, s.R.ReadArrayHeader)
	if n > most {
		s.Fail("a list of %d, at most %d", n, most)
		return 0
	}
	return n
}

// ArrayOf expects an array of n elements.
func (s *Stream) ArrayOf(n uint32) {
	if got := next(s, s.R.ReadArrayHeader); got != n {
		s.Fail("%d elements, want %d", got, n)
	}
}

// Map is the length of a map that begins here.
func (s *Stream) Map() uint32 { return next(s, s.R.ReadMapHeader) }

// Type is the type of the next element.
func (s *Stream) Type() msgp.Type { return next(s, s.R.NextType) }

// Int is a number that fits into 64 bits with a sign.
func (s *Stream) Int() int64 { return next(s, s.R.ReadInt64) }

// Uint is a number that is not negative.
func (s *Stream) Uint() uint64 { return next(s, s.R.ReadUint64) }

// Uint32 is a number that is not negative and fits into 32 bits.
func (s *Stream) Uint32() uint32 { return next(s, s.R.ReadUint32) }

// Uint8 is a number from 0 to 255.
func (s *Stream) Uint8() uint8 { return next(s, s.R.ReadUint8) }

// Bool is a truth value.
func (s *Stream) Bool() bool { return next(s, s.R.ReadBool) }

// Nil reports whether the next element is nil, and reads it if so.
func (s *Stream) Nil() bool {
	if s.Type() != msgp.NilType || s.Err != nil {
		return false
	}
	s.Err = s.R.ReadNil()
	return s.Err == nil
}

// Skip passes over an element of any type.
func (s *Stream) Skip() {
	if s.Err == nil {
		s.Err = s.R.Skip()
	}
}

// Widen makes the buffer large enough for n bytes, which must be sure to come.
func (s *Stream) Widen(n int) {
	if s.Err == nil && n > s.R.BufferSize() {
		_, s.Err = s.R.R.Peek(n)
	}
}

// Ahead is what was read from the connection before it was asked for; nil after an error.
func (s *Stream) Ahead() []byte {
	if s.Err != nil {
		return nil
	}
	b, _ := s.R.R.Peek(s.R.Buffered()) // of what is there, it does not fail
	return b
}

// Discard passes over n bytes of Ahead.
func (s *Stream) Discard(n int) {
	if s.Err == nil {
		_, s.Err = s.R.R.Skip(n)
	}
}

// Fixed reads as many bytes as to has.
func (s *Stream) Fixed(to []byte) {
	if s.Err == nil {
		s.Err = s.R.ReadExactBytes(to)
	}
}

// String is a string of at most most bytes.
func (s *Stream) String(most uint32) string { return s.StringLike("", most) }

// StringLike is a string of at most most bytes. One that equals like is like itself
// and takes no memory.
func (s *Stream) StringLike(like string, most uint32) string {
	n := next(s, s.R.ReadStringHeader)
	if n > most {
		s.Fail("a string of %d bytes, at most %d", n, most)
	}
	if s.Err != nil || n == 0 {
		return ""
	}
	var b []byte
	if b, s.Err = s.R.R.Next(int(n)); s.Err != nil {
		return ""
	}
	if like != string(b) {
		like = string(b)
	}
	return like
}

// Bin is a bin of at most most bytes; nil if it is empty.
func (s *Stream) Bin(most uint32) []byte {
	n := next(s, s.R.ReadBytesHeader)
	if n > most {
		s.Fail("%d bytes where at most %d belong", n, most)
	}
	if s.Err != nil || n == 0 {
		return nil
	}
	b := make([]byte, n)
	_, s.Err = io.ReadFull(s.R.R, b)
	return b
}
