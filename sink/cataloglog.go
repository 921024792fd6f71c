package sink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/disk"
	"fanin/internal/msgpack"
	"fanin/internal/wire"
)

// The catalog log is the catalog on disk: a file "table-N" of entries, later ones
// replacing earlier ones. A checkpoint appends what changed. Its slot then names the
// file and its length, and that makes the entries count; what is behind that length
// belongs to a checkpoint that was not completed. When the file has grown to a multiple
// of the catalog, a whole new one is written.
//
//	entry: length of the body, 4 bytes · CRC32C of the body, 4 bytes · body, a MessagePack array
//	  stream     [1, id, kind, own id, agent, address, host, source, identity,
//	             epoch, offset, tail, lines, seen, batches, [[offset, tail], ...]]
//	  no stream  [2, id]
//	  generation [3, number, name, inode, size, state, opened, closed]   times in microseconds, 0 none
//	  no gen.    [4, number]
//	  tomb       [5, id, epoch, offset, lines]
//	  no tomb    [6, id]
//	key        [7, id, content, offset, hash, time, sender, hashed]   a request with a key, see keys.go
//	lost key   [7, id]             a request that was committed in part when its key was forgotten
//	horizon    [7, sender, time]   nothing is known of what the sender sent before
//	no key     [8, id]
//	extension  [9, kind, name, value]   what a frame's extension set last; "" none
//
// The releases before this one refuse a table with an entry of the kinds 7 to 9.
// Version 1 had another stream:
//
//	[1, id, agent, host, source, identity, epoch, offset, tail, lossy, lines, [[offset, tail], ...]]
const (
	entryStream       = 1
	entryNoStream     = 2
	entryGeneration   = 3
	entryNoGeneration = 4
	entryTomb         = 5
	entryNoTomb       = 6
	entryKey          = 7
	entryNoKey        = 8
	entryExtension    = 9
)

func catalogLogName(dir string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("table-%d", n))
}

// delta appends what changed since the last call to dst, and calls it unchanged.
func (c *catalog) delta(dst []byte) []byte {
	var body []byte
	for _, st := range c.dirty {
		st.dirty = false
		body = st.entry(body[:0], c.streams[st.id] != st)
		dst = appendEntry(dst, body)
	}
	for _, g := range c.dirtyGens {
		g.dirty = false
		dst = appendEntry(dst, g.entry(nil, !c.has(g)))
	}
	for _, x := range c.tombs.dirty {
		x.dirty = false
		body = x.entry(body[:0], c.tombs.byID[x.id] != x)
		dst = appendEntry(dst, body)
	}
	dst = c.extensions.delta(c.keys.delta(dst))
	clear(c.dirty)
	c.dirty, c.dirtyGens, c.tombs.dirty = c.dirty[:0], nil, nil
	return dst
}

// all appends the whole catalog to dst.
func (c *catalog) all(dst []byte) []byte {
	var body []byte
	for _, st := range c.streams {
		body = st.entry(body[:0], false)
		dst = appendEntry(dst, body)
	}
	for _, g := range c.generations {
		dst = appendEntry(dst, g.entry(nil, false))
	}
	for _, x := range c.tombs.order {
		if c.tombs.byID[x.id] == x {
			body = x.entry(body[:0], false)
			dst = appendEntry(dst, body)
		}
	}
	return c.extensions.all(c.keys.all(dst))
}

func (c *catalog) has(g *generation) bool {
	for _, x := range c.generations {
		if x == g {
			return true
		}
	}
	return false
}

func appendEntry(dst, body []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.LittleEndian.AppendUint32(dst, disk.Checksum(body))
	return append(dst, body...)
}

func (st *stream) entry(dst []byte, gone bool) []byte {
	if gone {
		return msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(dst, 2), entryNoStream), st.id[:])
	}
	b := msgp.AppendInt(msgp.AppendArrayHeader(dst, 16), entryStream)
	b = msgp.AppendBytes(b, st.id[:])
	n := st.names()
	b = msgp.AppendBytes(msgp.AppendUint8(b, uint8(n.kind)), n.own[:])
	b = msgp.AppendString(msgp.AppendString(msgp.AppendString(b, n.agent), n.address), n.host)
	b = msgp.AppendBytes(msgp.AppendString(b, n.source), []byte(n.identity))
	b = msgp.AppendUint64(msgp.AppendInt64(msgp.AppendUint32(b, st.Epoch), st.Offset), uint64(st.Tail))
	b = msgp.AppendUint8(msgp.AppendInt64(msgp.AppendInt64(b, st.lines), st.seen), st.batches)
	b = msgp.AppendArrayHeader(b, uint32(len(st.Trail)))
	for _, p := range st.Trail {
		b = msgp.AppendUint64(msgp.AppendInt64(msgp.AppendArrayHeader(b, 2), p.Offset), uint64(p.Tail))
	}
	return b
}

func (x *tomb) entry(dst []byte, gone bool) []byte {
	if gone {
		return msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(dst, 2), entryNoTomb), x.id[:])
	}
	b := msgp.AppendBytes(msgp.AppendInt(msgp.AppendArrayHeader(dst, 5), entryTomb), x.id[:])
	return msgp.AppendInt64(msgp.AppendInt64(msgp.AppendUint32(b, x.epoch), x.offset), x.lines)
}

func (g *generation) entry(dst []byte, gone bool) []byte {
	if gone {
		return msgp.AppendUint64(msgp.AppendInt(msgp.AppendArrayHeader(dst, 2), entryNoGeneration), g.number)
	}
	b := msgp.AppendUint64(msgp.AppendInt(msgp.AppendArrayHeader(dst, 8), entryGeneration), g.number)
	b = msgp.AppendInt64(msgp.AppendUint64(msgp.AppendString(b, g.name), g.inode), g.size)
	b = msgp.AppendString(b, g.state)
	return msgp.AppendInt64(msgp.AppendInt64(b, microsOf(g.opened)), microsOf(g.closed))
}

func microsOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// readCatalogLog makes a catalog of the first size bytes of table n.
func readCatalogLog(d *disk.Disk, dir string, n uint64, size int64) (*catalog, error) {
	path := catalogLogName(dir, n)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the catalog log: %w", err)
	}
	if int64(len(b)) < size {
		return nil, &DamagedError{path, int64(len(b)), fmt.Sprintf("the catalog log ends here and had %d bytes", size)}
	}
	c := newCatalog()
	at, err := c.load(b[:size])
	if err != nil {
		return nil, &DamagedError{path, int64(at), err.Error()}
	}
	return c, nil
}

// load applies the entries in b; at is where it met a bad one.
func (c *catalog) load(b []byte) (at int, err error) {
	for at < len(b) {
		e := b[at:]
		if len(e) < 8 || uint64(len(e)-8) < uint64(binary.LittleEndian.Uint32(e)) {
			return at, errors.New("an entry of the catalog log is truncated")
		}
		body := e[8 : 8+binary.LittleEndian.Uint32(e)]
		if disk.Checksum(body) != binary.LittleEndian.Uint32(e[4:]) {
			return at, errors.New("an entry of the catalog log is damaged")
		}
		if err := c.loadEntry(body); err != nil {
			return at, fmt.Errorf("an entry of the catalog log: %w", err)
		}
		at += 8 + len(body)
	}
	c.tombs.clean()
	c.keys.clean()
	clear(c.extensions.dirty)
	c.senders.sort()
	return at, nil
}

func (c *catalog) loadEntry(body []byte) error {
	r := &elements{msgpack.Bytes{Rest: body}}
	n := r.Array()
	form := entryForm{r.Int(), n}
	load := form.loader()
	if load == nil {
		return fmt.Errorf("unknown kind %d with %d elements", form.kind, form.elements)
	}
	return load(c, r)
}

// entryForm is a kind of entry with a number of elements.
type entryForm struct {
	kind     int64
	elements uint32
}

// loader returns what applies an entry of this form, nil if there is no such form.
func (f entryForm) loader() func(*catalog, *elements) error {
	switch f {
	case entryForm{entryStream, 16}:
		return func(c *catalog, r *elements) error { return c.loadStream(r.stream(false), r.Err) }
	case entryForm{entryStream, 12}:
		return func(c *catalog, r *elements) error { return c.loadStream(r.stream(true), r.Err) }
	case entryForm{entryNoStream, 2}:
		return (*catalog).loadNoStream
	case entryForm{entryGeneration, 8}:
		return (*catalog).loadGeneration
	case entryForm{entryNoGeneration, 2}:
		return (*catalog).loadNoGeneration
	case entryForm{entryTomb, 5}:
		return (*catalog).loadTomb
	case entryForm{entryNoTomb, 2}:
		return (*catalog).loadNoTomb
	case entryForm{entryKey, 8}:
		return (*catalog).loadKey
	case entryForm{entryKey, 3}:
		return (*catalog).loadHorizon
	case entryForm{entryKey, 2}:
		return (*catalog).loadLostKey
	case entryForm{entryNoKey, 2}:
		return (*catalog).loadNoKey
	case entryForm{entryExtension, 4}:
		return (*catalog).loadExtension
	}
	return nil
}

func (c *catalog) loadStream(st *stream, err error) error {
	if err != nil {
		return err
	}
	if old := c.streams[st.id]; old != nil {
		c.endStream(old)
	}
	c.addStream(st)
	return nil
}

func (c *catalog) loadNoStream(r *elements) error {
	if st := c.streams[r.id()]; st != nil {
		c.endStream(st)
	}
	return r.Err
}

func (c *catalog) loadTomb(r *elements) error {
	x := &tomb{id: r.id(), epoch: uint32(r.Int()), offset: r.Int(), lines: r.Int()}
	if r.Err == nil {
		c.tombs.add(x)
	}
	return r.Err
}

func (c *catalog) loadNoTomb(r *elements) error {
	c.tombs.remove(r.id())
	return r.Err
}

func (c *catalog) loadGeneration(r *elements) error {
	g := &generation{number: r.Uint(), name: r.String(), inode: r.Uint(), size: r.Int(), state: r.String()}
	g.opened, g.closed = timeOf(r.Int()), timeOf(r.Int())
	c.replaceGeneration(g, r.Err == nil)
	return r.Err
}

func (c *catalog) loadNoGeneration(r *elements) error {
	c.replaceGeneration(&generation{number: r.Uint()}, false)
	return r.Err
}

// stream reads what entry wrote, behind its number.
func (e *elements) stream(v1 bool) *stream {
	st, n := &stream{id: e.id()}, names{}
	if !v1 {
		n.kind, n.own = wire.StreamKind(e.Uint()), e.id()
	}
	n.agent = e.String()
	if !v1 {
		n.address = e.String()
	}
	n.host, n.source, n.identity = e.String(), e.String(), string(e.Bin())
	st.Epoch, st.Offset, st.Tail = uint32(e.Int()), e.Int(), wire.Hash(e.Uint())
	if v1 {
		n.own, n.kind = st.id, kindOfVersion1(e.Bool(), n.agent)
		st.lines = e.Int()
		st.batches = 2
	} else {
		st.lines, st.seen, st.batches = e.Int(), e.Int(), uint8(e.Uint())
	}
	for i := e.Array(); i > 0 && e.Err == nil; i-- {
		e.Array()
		st.Trail = append(st.Trail, wire.Point{Offset: e.Int(), Tail: wire.Hash(e.Uint())})
	}
	n.nameStream(st)
	return st
}

// replaceGeneration replaces the generation of g's number by g, or by nothing.
func (c *catalog) replaceGeneration(g *generation, keep bool) {
	for i, x := range c.generations {
		if x.number == g.number && keep {
			c.generations[i] = g
			return
		}
		if x.number == g.number {
			c.generations = append(c.generations[:i:i], c.generations[i+1:]...)
			return
		}
	}
	if keep {
		c.generations = append(c.generations, g)
	}
}

// elements reads the elements of an entry.
type elements struct{ msgpack.Bytes }

func (e *elements) id() (id wire.StreamID) {
	e.Fixed(id[:])
	return id
}
