package sink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

// extension is one entry of a frame's extension area: it sets or deletes one value
// when the frame is applied, at its commit and when it is read again after a crash.
// Little endian:
//
//	0 kind    2 bytes; below wire.FirstExtensionKind it is the sink's own, else an input's
//	2 name    length in bytes, 2 bytes
//	4 value   length in bytes, 4 bytes; 0 deletes
//	8 name, value
//
// A whole frame with an entry that this release cannot read, such as one of an unknown
// kind of the sink's own, was written by a later release, and is refused. Releases before
// this one refuse every frame that has an extension.
type extension struct {
	kind  wire.ExtensionKind
	name  string
	value string
}

const extensionHeader = 8

// extensionKey opens or forgets the key of a request, see keys.go. The name is the
// 16 bytes of its stream.
const extensionKey wire.ExtensionKind = 1

func (x *extension) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, uint16(x.kind))
	dst = le.AppendUint16(dst, uint16(len(x.name)))
	dst = le.AppendUint32(dst, uint32(len(x.value)))
	return append(append(dst, x.name...), x.value...)
}

func (x *extension) size() int { return extensionHeader + len(x.name) + len(x.value) }

var errExtension = fmt.Errorf("an extension of unknown form: %w", errNewerRelease)

func parseExtensions(b []byte) (list []extension, err error) {
	le := binary.LittleEndian
	for len(b) > 0 {
		if len(b) < extensionHeader {
			return nil, errExtension
		}
		name, value := int64(le.Uint16(b[2:])), int64(le.Uint32(b[4:]))
		x := extension{kind: wire.ExtensionKind(le.Uint16(b))}
		if b = b[extensionHeader:]; name+value > int64(len(b)) {
			return nil, errExtension
		}
		x.name, x.value = string(b[:name]), string(b[name:name+value])
		b = b[name+value:]
		switch {
		case x.kind < wire.FirstExtensionKind && x.kind != extensionKey:
			return nil, fmt.Errorf("an extension of kind %d: %w", x.kind, errNewerRelease)
		case x.kind == extensionKey && !validKeyExtension(&x):
			return nil, errExtension
		}
		list = append(list, x)
	}
	return list, nil
}

// extensions are the values that inputs have the log remember. The zero value is
// empty.
type extensions struct {
	values map[extensionName]string
	dirty  map[extensionName]bool // changed since the last checkpoint
}

type extensionName struct {
	kind wire.ExtensionKind
	name string
}

// apply sets or deletes one value.
func (e *extensions) apply(x *extension) {
	if e.values == nil {
		e.values, e.dirty = make(map[extensionName]string), make(map[extensionName]bool)
	}
	n := extensionName{x.kind, x.name}
	if x.value == "" {
		delete(e.values, n)
	} else {
		e.values[n] = x.value
	}
	e.dirty[n] = true
}

// entry is the value of n in the table, none if it is deleted.
func (e *extensions) entry(n extensionName) []byte {
	b := msgp.AppendUint16(msgp.AppendInt(msgp.AppendArrayHeader(nil, 4), entryExtension), uint16(n.kind))
	return msgp.AppendBytes(msgp.AppendString(b, n.name), []byte(e.values[n]))
}

// delta appends the entries that changed since the last call.
func (e *extensions) delta(dst []byte) []byte {
	for n := range e.dirty {
		dst = appendEntry(dst, e.entry(n))
	}
	clear(e.dirty)
	return dst
}

// all appends the entries of all values.
func (e *extensions) all(dst []byte) []byte {
	for n := range e.values {
		dst = appendEntry(dst, e.entry(n))
	}
	return dst
}

var errExtensionEntry = errors.New("an extension is too long or of no input")

// loadExtension reads what entry wrote, behind its number.
func (c *catalog) loadExtension(r *elements) error {
	x := extension{kind: wire.ExtensionKind(r.Uint()), name: r.String(), value: string(r.Bin())}
	if r.Err != nil {
		return r.Err
	}
	tooLong := len(x.name) > wire.MaxExtensionName || len(x.value) > wire.MaxExtensionValue
	if tooLong || x.kind < wire.FirstExtensionKind {
		return errExtensionEntry
	}
	c.extensions.apply(&x)
	return nil
}

// Extensions are the values of this kind that batches had the log remember, by name.
// All of them are durable. A new incarnation of the log has none, because the
// lines that they belong to may be gone.
func (s *Sink) Extensions(kind wire.ExtensionKind) map[string][]byte {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	values := make(map[string][]byte)
	for n, v := range s.view.catalog.extensions.values {
		if n.kind == kind {
			values[n.name] = []byte(v)
		}
	}
	return values
}

// admitExtensions makes sure that the group may remember what b adds, and returns
// why not. A batch with extensions is committed in one frame.
func (w *writer) admitExtensions(b *wire.Batch) (refused, fatal error) {
	known := len(w.catalog.extensions.values)
	if known+len(w.group.extensions)+len(b.Extensions) > wire.MaxExtensions {
		if err := w.commit(); err != nil { // then what the group deletes counts, too
			return nil, err
		}
		added := 0
		for _, x := range b.Extensions {
			if _, ok := w.catalog.extensions.values[extensionName{x.Kind, x.Name}]; !ok && len(x.Value) > 0 {
				added++
			}
		}
		if known := len(w.catalog.extensions.values); added > 0 && known+added > wire.MaxExtensions {
			w.s.counts.of(b.Input).Rejected(counters.TooLarge, countLines(b.Text))
			reason := fmt.Sprintf("the log remembers %d extensions, at most %d", known, wire.MaxExtensions)
			return &wire.Refused{Reason: reason}, nil
		}
	}
	w.group.undivided = true
	return nil, nil
}

// addExtensions adds the extensions of a batch whose lines are in the group.
func (g *group) addExtensions(b *wire.Batch) {
	for _, x := range b.Extensions {
		g.addExtension(extension{x.Kind, x.Name, string(x.Value)})
	}
}

func (g *group) addExtension(x extension) {
	g.extensions = append(g.extensions, x)
	g.extensionSize += x.size()
}
