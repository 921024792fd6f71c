package redisconn

import "strconv"

// Value is one reply of a server, or an element of one. Its bytes are valid until the next
// reply is read from the same Reader. The zero value is null.
type Value struct {
	r *Reader
	i int32
}

// node is a Value in the memory of a Reader. The nodes of a reply are in the order in which
// they came: the elements of a list follow it.
type node struct {
	n    int64 // an integer; how many bytes of text, or elements, there are; of a skipped value, as announced
	at   int32 // where the text begins
	next int32 // the first node behind this one and its elements
	kind kind
}

type kind uint8

const (
	null    kind = iota
	skipped      // longer than allowed: its bytes were not kept
	text         // simple, bulk and verbatim strings, doubles, big numbers
	integer      // and booleans
	failure      // an error, as text
	list         // arrays and sets; maps, as keys and values in turn
	push         // a list that answers no command
)

func (v Value) node() *node {
	if v.r == nil {
		return &node{}
	}
	return &v.r.nodes[v.i]
}

// IsNull reports whether the value is null. A skipped value is not.
func (v Value) IsNull() bool { return v.node().kind == null }

// Skipped reports whether the value was longer than allowed, and how many bytes it had.
func (v Value) Skipped() (bytes int64, yes bool) {
	n := v.node()
	return n.n, n.kind == skipped
}

// IsText reports whether the value is a string.
func (v Value) IsText() bool { return v.node().kind == text }

// IsList reports whether the value has elements, or could have.
func (v Value) IsList() bool { k := v.node().kind; return k == list || k == push }

// Bytes returns a string's bytes, which are the Reader's; nil if it is no string.
func (v Value) Bytes() []byte {
	n := v.node()
	if n.kind != text && n.kind != failure {
		return nil
	}
	return v.r.text[n.at : int64(n.at)+n.n : int64(n.at)+n.n]
}

// String returns a copy of a string; "" if it is no string.
func (v Value) String() string { return string(v.Bytes()) }

// Int returns an integer, or a string that is one.
func (v Value) Int() (n int64, ok bool) {
	switch x := v.node(); x.kind {
	case integer:
		return x.n, true
	case text:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// Len returns how many elements the value has. A map has two for each of its entries.
func (v Value) Len() int {
	if !v.IsList() {
		return 0
	}
	return int(v.node().n)
}

// All iterates over the elements.
func (v Value) All() func(yield func(i int, e Value) bool) {
	return func(yield func(int, Value) bool) {
		at := v.i + 1
		for i := range v.Len() {
			e := Value{v.r, at}
			at = e.node().next
			if !yield(i, e) {
				return
			}
		}
	}
}

// At returns an element, or null if there are not so many. It walks over those before it.
func (v Value) At(i int) Value {
	for k, e := range v.All() {
		if k == i {
			return e
		}
	}
	return Value{}
}

// Get returns what follows a key in a map, or in a list of keys and values in turn, which
// is a map before RESP3; null if the key is not there.
func (v Value) Get(key string) Value {
	found := false
	for i, e := range v.All() {
		if found {
			return e
		}
		found = i%2 == 0 && string(e.Bytes()) == key
	}
	return Value{}
}

// Err returns the error that the server answered with, as *ServerError; nil if the value is
// none.
func (v Value) Err() error {
	if v.node().kind != failure {
		return nil
	}
	return newServerError(v.String())
}
