package sink

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// goldenExtensionFrame begins a request with a key, whole, forgets another key, and
// sets and deletes a value of an input. Its text says "k".
func goldenExtensionFrame() *frame {
	open := keyOpening{content: 0x99aabbccddeeff00, sender: 0x0102030405060708, hashed: true}
	f := &frame{
		walEpoch: 0x1122334455667788, lsn: 8, durable: 7, generation: 3, position: 4144,
		extensions: []extension{
			open.extension(idOf(0x10)),
			{kind: extensionKey, name: string(idBytes(0x20))},
			{kind: wire.FirstExtensionKind, name: "session", value: "hash"},
			{kind: wire.FirstExtensionKind + 1, name: "old"},
		},
		text: []byte("- -: k\n"),
	}
	f.records = []record{{stream: idOf(0x10), lines: 1, key: true, whole: true, length: 7, end: 1, after: 0x99aabbccddeeff00,
		time: 1795366800123456, position: 4144, sum: disk.Checksum(f.text)}}
	return f
}

// An entry without a name deletes the value that has none.
func TestExtensionWithoutName(t *testing.T) {
	x := extension{kind: wire.FirstExtensionKind}
	if list, err := parseExtensions(x.append(nil)); err != nil || len(list) != 1 || list[0] != x {
		t.Errorf("%+v, %v", list, err)
	}
}

func idBytes(n byte) []byte {
	id := idOf(n)
	return id[:]
}

func TestExtensionFrameGolden(t *testing.T) {
	f := goldenExtensionFrame()
	want := pinned(t, "frame-extension", append(f.appendHead(nil), f.text...))
	got, n, err := parseFrame(want)
	if err != nil || n != len(want) || !reflect.DeepEqual(got, f) {
		t.Errorf("read as\n%+v, %d bytes, %v; want\n%+v, %d bytes", got, n, err, f, len(want))
	}
}

// goldenKeyEntries are a table's: a sender's horizon, a whole key, half of one, one that
// was forgotten in its middle, one that went, a value of an input, and one that was
// deleted.
func goldenKeyEntries() (*catalog, []byte) {
	c := newCatalog()
	t := &c.keys
	t.open(keyEntry{id: idOf(0x10), content: hashBytes(9), hash: hashBytes(9), records: 2, seen: 1795366800, hashed: true}, 7)
	t.open(keyEntry{id: idOf(0x20), content: hashBytes(0x99aabbccddeeff00), hash: hashBytes(5), records: 70000, seen: 1795366801}, 7)
	t.open(keyEntry{id: idOf(0x30), content: hashBytes(9), hash: hashBytes(8), records: 2, seen: 1795366799}, 7)
	t.forget(idOf(0x30))
	t.clean()
	kept, gone := extension{wire.FirstExtensionKind, "session", "hash"}, extension{wire.FirstExtensionKind, "old", ""}
	c.extensions.apply(&kept)
	var b []byte
	for _, e := range [][]byte{horizonEntry(nil, 7, t.senders[0].horizon),
		t.entry(nil, idOf(0x10)), t.entry(nil, idOf(0x20)), t.entry(nil, idOf(0x30)), t.entry(nil, idOf(0x40)),
		c.extensions.entry(extensionName{kept.kind, kept.name}), c.extensions.entry(extensionName{gone.kind, gone.name})} {
		b = appendEntry(b, e)
	}
	return c, b
}

func TestKeyTableGolden(t *testing.T) {
	c, b := goldenKeyEntries()
	want := pinned(t, "table-keys", b)
	got := newCatalog()
	if _, err := got.load(want); err != nil {
		t.Fatal(err)
	}
	if d := keyDump(&got.keys); d != keyDump(&c.keys) || !reflect.DeepEqual(got.extensions.values, c.extensions.values) {
		t.Errorf("read as %s\n%v\nwant %s\n%v", d, got.extensions.values, keyDump(&c.keys), c.extensions.values)
	}
	if rest := got.delta(nil); len(rest) > 0 {
		t.Errorf("what was just read is to be written again: %x", rest)
	}
}

// Entries that are whole and make no sense are damage.
func TestKeyEntriesThatCannotBe(t *testing.T) {
	key := func(records, seen int64) []byte {
		b := msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(nil, 8), entryKey), idBytes(1))
		b = msgp.AppendUint64(msgp.AppendInt64(msgp.AppendUint64(b, 1), records), 1)
		return msgp.AppendBool(msgp.AppendUint64(msgp.AppendInt64(b, seen), 1), false)
	}
	value := func(kind uint16, name, value int) []byte {
		b := msgp.AppendUint16(msgp.AppendInt(msgp.AppendArrayHeader(nil, 4), entryExtension), kind)
		return msgp.AppendBytes(msgp.AppendString(b, string(make([]byte, name))), make([]byte, value))
	}
	array := func(kind int, n uint32) []byte {
		return append(msgp.AppendInt(msgp.AppendArrayHeader(nil, n), kind), bytes.Repeat([]byte{0}, int(n))...)
	}
	for name, body := range map[string][]byte{
		"fewer than no records":     key(-1, 1),
		"more records than counted": key(1<<32, 1),
		"a time before 1970":        key(1, -1e6),
		"a time far away":           key(1, 1e6<<32),
		"a kind of the sink's own":  value(15, 1, 1),
		"a name too long":           value(16, wire.MaxExtensionName+1, 1),
		"a value too long":          value(16, 1, wire.MaxExtensionValue+1),
		"a key of four":             array(entryKey, 4),
		"no key of three":           array(entryNoKey, 3),
		"an extension of three":     array(entryExtension, 3),
	} {
		if _, err := newCatalog().load(appendEntry(nil, body)); err == nil || errors.Is(err, errNewerRelease) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, body := range [][]byte{key(1<<32-1, 1e6), value(16, wire.MaxExtensionName, wire.MaxExtensionValue)} {
		if _, err := newCatalog().load(appendEntry(nil, body)); err != nil {
			t.Error(err)
		}
	}
}

// FuzzExtensions: what is read is written again as it was.
func FuzzExtensions(f *testing.F) {
	for _, x := range goldenExtensionFrame().extensions {
		f.Add(x.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseExtensions(b)
		if err != nil {
			if !errors.Is(err, errNewerRelease) {
				t.Errorf("%v is no errLater", err)
			}
			return
		}
		var again []byte
		c := newCatalog()
		for i := range list {
			again = list[i].append(again)
			c.applyExtension(&list[i])
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x is read as %+v", b, list)
		}
		c.keys.check(t)
	})
}
