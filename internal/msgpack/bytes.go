package msgpack

import (
	"bytes"

	"github.com/tinylib/msgp/msgp"
)

// Bytes reads from memory.
type Bytes struct {
	Rest []byte // what was not read yet
	Err  error  // the first
}

// Fail makes an error of what was read, unless there is one already.
func (b *Bytes) Fail(format string, args ...any) {
	if b.Err == nil {
		b.Err = Errorf(format, args...)
	}
}

// element reads an element, unless there was an error.
func element[T any](b *Bytes, read func([]byte) (T, []byte, error)) (v T) {
	if b.Err == nil {
		v, b.Rest, b.Err = read(b.Rest)
	}
	return v
}

// Array is the length of an array that begins here: at most as many elements as
// bytes are left.
func (b *Bytes) Array() uint32 {
	n := element(b, msgp.ReadArrayHeaderBytes)
	if int64(n) > int64(len(b.Rest)) {
		b.Fail("a list of %d in %d bytes", n, len(b.Rest))
	}
	if b.Err != nil {
		return 0
	}
	return n
}

// ArrayOf expects an array of n elements.
func (b *Bytes) ArrayOf(n uint32) {
	if got := b.Array(); got != n {
		b.Fail("%d elements, want %d", got, n)
	}
}

// Int is a number that fits into 64 bits with a sign.
func (b *Bytes) Int() int64 { return element(b, msgp.ReadInt64Bytes) }

// Uint is a number that is not negative.
func (b *Bytes) Uint() uint64 { return element(b, msgp.ReadUint64Bytes) }

// Bool is a truth value.
func (b *Bytes) Bool() bool { return element(b, msgp.ReadBoolBytes) }

// String is a string.
func (b *Bytes) String() string { return element(b, msgp.ReadStringBytes) }

// Bin is a copy of a bin; nil if it is empty.
func (b *Bytes) Bin() []byte {
	v := element(b, msgp.ReadBytesZC)
	if len(v) == 0 {
		return nil
	}
	return bytes.Clone(v)
}

// Fixed reads a bin of as many bytes as to has.
func (b *Bytes) Fixed(to []byte) {
	v := element(b, msgp.ReadBytesZC)
	if len(v) != len(to) {
		b.Fail("%d bytes where %d belong", len(v), len(to))
	}
	if b.Err == nil {
		copy(to, v)
	}
}
