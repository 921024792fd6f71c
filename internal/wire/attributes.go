package wire

import (
	"encoding/binary"
	"iter"
)

// Attributes are named values of a line besides host, source and time, such as a priority.
// The layout json shows them; the others do not. The zero value has none.
//
//	1 byte length, name · 2 bytes length (little endian), value · and so on
type Attributes string

// Limits of attributes. A name has [A-Za-z0-9._-]; a value may have any bytes.
const (
	MaxAttributes    = 4 << 10 // bytes of all of a line
	maxAttributeName = 64
	attributeHeads   = 3 // bytes of the two lengths
)

// AppendAttribute appends an attribute to dst, the bytes of Attributes. It changes nothing and
// returns false if the name is unfit or there is no room.
func AppendAttribute(dst []byte, name string, value []byte) ([]byte, bool) {
	if !goodAttribute(name) || len(dst)+attributeHeads+len(name)+len(value) > MaxAttributes {
		return dst, false
	}
	dst = append(append(dst, byte(len(name))), name...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...), true
}

// goodAttribute reports whether an attribute may have the name.
func goodAttribute(name string) bool {
	if len(name) == 0 || len(name) > maxAttributeName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; places[c] != inHost|inSource || c == '/' {
			return false
		}
	}
	return true
}

// All is the names and values in their order.
func (a Attributes) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := a; len(rest) > 0; {
			name, value, n := rest.first()
			if n == 0 || !yield(name, value) {
				return
			}
			rest = rest[n:]
		}
	}
}

// first is the first attribute, and how many bytes it takes; 0 if it is malformed.
func (a Attributes) first() (name, value string, n int) {
	size := int(a[0])
	if len(a) < attributeHeads+size {
		return "", "", 0
	}
	name = string(a[1 : 1+size])
	n = attributeHeads + size + (int(a[1+size]) | int(a[2+size])<<8)
	if len(a) < n {
		return "", "", 0
	}
	return name, string(a[attributeHeads+size : n]), n
}

// check returns why a is unfit for the log, as an ErrRefused.
func (a Attributes) check() error {
	if len(a) > MaxAttributes {
		return refuse("the attributes of a line have %d bytes, more than %d", len(a), MaxAttributes)
	}
	for rest := a; len(rest) > 0; {
		name, _, n := rest.first()
		if n == 0 || !goodAttribute(name) {
			return refuse("the attributes of a line are malformed at byte %d", len(a)-len(rest))
		}
		rest = rest[n:]
	}
	return nil
}
