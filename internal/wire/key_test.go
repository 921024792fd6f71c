package wire

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
)

// Keys of two kinds, and keys that are the same when joined, are different streams.
func TestKeyID(t *testing.T) {
	ids := map[StreamID]string{}
	for name, id := range map[string]StreamID{
		"a bc": KeyID("a", []byte("bc")), "ab c": KeyID("ab", []byte("c")), "a b c": KeyID("a", []byte("b"), []byte("c")),
		"a bc, nothing": KeyID("a", []byte("bc"), nil), "abc": KeyID("abc"),
	} {
		if other, taken := ids[id]; taken {
			t.Errorf("%q and %q are the same", name, other)
		}
		ids[id] = name
	}
	sum := sha256.Sum256([]byte("\x01\x00\x00\x00a\x02\x00\x00\x00bc"))
	if id := KeyID("a", []byte("bc")); string(id[:]) != string(sum[:16]) {
		t.Errorf("the id is %s", id)
	}
}

func TestRecordHash(t *testing.T) {
	sum := append(make([]byte, 8), 9, 9)
	if h := RecordHash(sum); h != 1 {
		t.Errorf("a sum that begins with zeros is %d", h)
	}
	if sum[0] = 1; RecordHash(sum) != 1<<56 {
		t.Errorf("%x", RecordHash(sum))
	}
}

func TestCheckKey(t *testing.T) {
	good := Batch{Kind: StreamKey, Stream: KeyID("x"), Time: 1, End: 1, After: 1, Text: []byte("x\n"), Local: Local{Key: &Key{Content: 1}}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b *Batch){
		"no key":                      func(b *Batch) { b.Key = nil },
		"another kind":                func(b *Batch) { b.Kind = StreamAgent },
		"an open":                     func(b *Batch) { b.Op, b.Text, b.End = OpOpen, nil, 0 },
		"no stream":                   func(b *Batch) { b.Stream = StreamID{} },
		"an epoch":                    func(b *Batch) { b.Epoch = 1 },
		"too many records":            func(b *Batch) { b.End = 1 << 32 },
		"no time":                     func(b *Batch) { b.Time = 0 },
		"a hash of no records":        func(b *Batch) { b.Before = 1 },
		"no hash of earlier records":  func(b *Batch) { b.Offset, b.End = 1, 2 },
		"no hash of its records":      func(b *Batch) { b.After = 0 },
		"no hash of all records":      func(b *Batch) { b.Key = &Key{} },
		"text that covers no records": func(b *Batch) { b.End = 0 },
	} {
		b := good
		change(&b)
		if err := b.Check(); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.End = 1<<32 - 1
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestCheckExtensions(t *testing.T) {
	x := func(name, value int) Extension {
		return Extension{Kind: FirstExtensionKind, Name: strings.Repeat("n", name), Value: make([]byte, value)}
	}
	line := strings.Repeat("x", MaxCutText/MaxCutLines-1) + "\n"
	b := Batch{Text: []byte(strings.Repeat(line, MaxCutLines)), Local: Local{Extensions: []Extension{x(MaxExtensionName, MaxExtensionValue), x(0, 0)}}}
	for range 15 {
		b.Extensions = append(b.Extensions, x(0, MaxExtensionValue-5))
	}
	b.Extensions[1] = x(0, MaxExtensionBatch-MaxExtensionName-MaxExtensionValue-15*(MaxExtensionValue-5))
	if err := b.Check(); err != nil {
		t.Errorf("as much as may be: %v", err)
	}
	b.Extensions[1].Name = "n"
	if err := b.Check(); !errors.Is(err, ErrRefused) {
		t.Errorf("one byte more: %v", err)
	}
}
