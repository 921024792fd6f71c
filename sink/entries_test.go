package sink

import (
	"errors"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/wire"
)

// An entry of a kind that this release knows, with another number of elements, is
// damage: neither read nor taken for a later release's.
func TestEntriesOfTheWrongLength(t *testing.T) {
	for kind := entryStream; kind <= entryNoTomb; kind++ {
		for _, n := range []uint32{3, 6} {
			err := loadOne(kind, n)
			if err == nil || errors.Is(err, errNewerRelease) {
				t.Errorf("kind %d with %d elements: %v", kind, n, err)
			}
		}
	}
	for _, kind := range []int{entryStream, entryGeneration, entryTomb, 77} {
		b := msgp.AppendInt(msgp.AppendInt(msgp.AppendArrayHeader(nil, 2), kind), 1)
		if _, err := newCatalog().load(appendEntry(nil, b)); err == nil {
			t.Errorf("kind %d with a number only, as an entry of what is gone: no error", kind)
		}
	}
	if err := loadOne(77, 5); err == nil || errors.Is(err, errNewerRelease) {
		t.Errorf("an unknown kind with a tomb's length: %v", err)
	}
}

func loadOne(kind int, n uint32) error {
	b := msgp.AppendInt(msgp.AppendArrayHeader(nil, n), kind)
	b = msgp.AppendBytes(b, make([]byte, 16))
	for range 4 {
		b = msgp.AppendInt(b, 1)
	}
	_, err := newCatalog().load(appendEntry(nil, b))
	return err
}

// A source has no colon in the file, where one ends it; a host may have some.
func TestNamesOfColons(t *testing.T) {
	n := namesOf(&wire.Batch{Host: "2001:db8::7", Source: "a:b"})
	if n.host != "2001:db8::7" || n.source != "a_b" {
		t.Errorf("host %q, source %q", n.host, n.source)
	}
}
