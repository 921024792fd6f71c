package msgpack

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tinylib/msgp/msgp"
)

// list is one element of each type that is read.
func list() []byte {
	b := msgp.AppendArrayHeader(nil, 8)
	b = msgp.AppendInt64(b, -7)
	b = msgp.AppendUint64(b, 1<<63)
	b = msgp.AppendBool(b, true)
	b = msgp.AppendString(b, "text")
	b = msgp.AppendBytes(b, []byte("bytes"))
	b = msgp.AppendBytes(b, []byte("four"))
	b = msgp.AppendArrayHeader(b, 1)
	b = msgp.AppendNil(b)
	return msgp.AppendBytes(b, nil)
}

type got struct {
	n     int64
	u     uint64
	ok    bool
	text  string
	bytes string
	four  [4]byte
}

var want = got{-7, 1 << 63, true, "text", "bytes", [4]byte{'f', 'o', 'u', 'r'}}

func TestStream(t *testing.T) {
	s := NewStream(iotest.OneByteReader(bytes.NewReader(list())), 64)
	s.ArrayOf(8)
	g := got{n: s.Int(), u: s.Uint(), ok: s.Bool(), text: s.String(4), bytes: string(s.Bin(5))}
	s.Fixed(g.four[:])
	if n := s.Array(1); n != 1 || s.Nil() != true || s.Bin(0) != nil || s.Err != nil || g != want {
		t.Errorf("%+v, %d, %v", g, n, s.Err)
	}
	if s.Int() != 0 || s.Err != io.EOF || s.String(9) != "" || s.Err != io.EOF || IsFormat(s.Err) {
		t.Errorf("behind the end: %v", s.Err)
	}
}

func TestBytes(t *testing.T) {
	b := Bytes{Rest: list()}
	b.ArrayOf(8)
	g := got{n: b.Int(), u: b.Uint(), ok: b.Bool(), text: b.String(), bytes: string(b.Bin())}
	b.Fixed(g.four[:])
	if n := b.Array(); n != 1 || b.Err != nil || g != want || len(b.Rest) != 3 {
		t.Errorf("%+v, %d, %v, % x", g, n, b.Err, b.Rest)
	}
	if b.Int() != 0 || b.Err == nil || b.String() != "" {
		t.Errorf("nil is read as a number: %v", b.Err)
	}
}

// TestLimits: what is too long is an error before memory is made for it, and after
// an error all else is zero.
func TestLimits(t *testing.T) {
	for name, read := range map[string]func(s *Stream){
		"\xdd\xff\xff\xff\xff": func(s *Stream) { s.Array(3) },
		"\x92":                 func(s *Stream) { s.ArrayOf(3) },
		"\xdb\xff\xff\xff\xff": func(s *Stream) { s.String(3) },
		"\xc6\xff\xff\xff\xff": func(s *Stream) { s.Bin(3) },
		"\xc4\x05":             func(s *Stream) { s.Fixed(make([]byte, 3)) },
		"\xa1x":                func(s *Stream) { s.Int() },
	} {
		s := NewStream(strings.NewReader(name+"\x01\x01\x01\x01\x01\x01\x01\x01"), 64)
		read(s)
		first := s.Err
		if !IsFormat(first) || s.Int() != 0 || s.Array(9) != 0 || s.Nil() || s.Err != first {
			t.Errorf("% x: %v, then %v", name, first, s.Err)
		}
	}
	b := Bytes{Rest: []byte("\xdc\x00\x09\x01")}
	if b.Array() != 0 || !IsFormat(b.Err) || b.Int() != 0 {
		t.Errorf("an array of 9 in 1 byte: %v", b.Err)
	}
	b = Bytes{Rest: []byte("\xc4\x02ab")}
	if b.Fixed(make([]byte, 3)); !IsFormat(b.Err) {
		t.Errorf("2 bytes of 3: %v", b.Err)
	}
}

// TestStringLike: a string that repeats itself takes memory once.
func TestStringLike(t *testing.T) {
	var one []byte
	for range 1000 {
		one = msgp.AppendString(one, "a name of some length")
	}
	r := bytes.NewReader(one)
	s := NewStream(r, 64)
	allocs := testing.AllocsPerRun(10, func() {
		r.Reset(one)
		s.R.Reset(r)
		last := ""
		for range 1000 {
			if last = s.StringLike(last, 100); last != "a name of some length" {
				t.Fatal(last, s.Err)
			}
		}
	})
	if allocs > 2 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestReaderErrors: the connection's own error is kept.
func TestReaderErrors(t *testing.T) {
	broken := errors.New("connection reset")
	for n := range list() {
		s := NewStream(io.MultiReader(bytes.NewReader(list()[:n]), iotest.ErrReader(broken)), 64)
		for range 8 {
			s.Skip()
		}
		if !errors.Is(s.Err, broken) || IsFormat(s.Err) {
			t.Fatalf("after %d bytes: %v", n, s.Err)
		}
	}
}
