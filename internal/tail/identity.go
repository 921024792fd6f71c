package tail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"fanin/internal/wire"
)

// identity distinguishes a file from all others. The file's handle, or its inode and its
// content, decide. The device number, which another boot or mount changes, only breaks ties;
// the paths are labels.
type identity struct {
	handle        []byte // the file system's own name for it, see disk.Handle; may be empty
	device, inode uint64
	system        uint64 // the file system's id, see disk.FileSystem; 0: none
	head          head
	path          string
	real          string // the target of path, if it is reached through symbolic links
}

func (id *identity) equal(x *identity) bool {
	return bytes.Equal(id.handle, x.handle) && id.device == x.device && id.inode == x.inode && id.system == x.system &&
		id.head == x.head && id.path == x.path && id.real == x.real
}

// head is how a file begins: the hash of its first 1<<(bits-1) bytes. With bits = 0 nothing is
// known. It never changes while the file only grows.
type head struct {
	bits uint8
	sum  wire.Hash
}

// headSize is how much of a file's beginning is compared.
const (
	headBits = 11
	headSize = 1 << (headBits - 1)
)

// headsOf returns the hashes of the first 1, 2, 4, ... bytes of b.
func headsOf(b []byte) (sums []wire.Hash) {
	for n := 1; n <= min(len(b), headSize); n *= 2 {
		sums = append(sums, wire.TailHash(b[:n]))
	}
	return sums
}

// headOf returns the longest of some hashes.
func headOf(sums []wire.Hash) head {
	if len(sums) == 0 {
		return head{}
	}
	return head{bits: uint8(len(sums)), sum: sums[len(sums)-1]}
}

// begins reports whether a file with these hashes begins like h.
func (h head) begins(sums []wire.Hash) bool {
	return h.bits == 0 || int(h.bits) <= len(sums) && sums[h.bits-1] == h.sum
}

// exceeds reports whether h is of more bytes than a file with these hashes has.
func (h head) exceeds(sums []wire.Hash) bool { return int(h.bits) > len(sums) }

// mayBegin reports whether a file with these hashes begins like h, or is too short to tell.
func (h head) mayBegin(sums []wire.Hash) bool { return h.exceeds(sums) || h.begins(sums) }

// The collector keeps the identity for agents that lose their state:
//
//	0 version, 2 · 1 length of the handle, 1 byte · handle ·
//	device, 8 bytes, little endian · inode, 8 bytes · file system, 8 bytes ·
//	bits of the head, 1 byte · its hash, 8 bytes ·
//	length of the path, 2 bytes · path · real path, to the end
//
// Version 1 ends in inode and path. Of paths that are too long, their ends are kept.
func (id *identity) append(dst []byte) []byte {
	handle := id.handle
	if len(handle) > 128 {
		handle = nil
	}
	dst = append(dst, 2, byte(len(handle)))
	dst = append(dst, handle...)
	dst = binary.LittleEndian.AppendUint64(dst, id.device)
	dst = binary.LittleEndian.AppendUint64(dst, id.inode)
	dst = binary.LittleEndian.AppendUint64(dst, id.system)
	dst = append(dst, id.head.bits)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.head.sum))
	room := wire.MaxIdentity - len(dst) - 2
	path, real := id.path, id.real
	if len(path)+len(real) > room {
		path = lastBytes(path, max(room-len(real), room/2))
		real = lastBytes(real, room-len(path))
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(path)))
	return append(append(dst, path...), real...)
}

func lastBytes(s string, n int) string { return s[max(0, len(s)-n):] }

var errIdentity = errors.New("not an identity")

func parseIdentity(b []byte) (id identity, err error) {
	if len(b) < 2 || len(b) < 2+int(b[1])+16 {
		return id, errIdentity
	}
	n := 2 + int(b[1])
	if n > 2 {
		id.handle = b[2:n]
	}
	id.device, id.inode = binary.LittleEndian.Uint64(b[n:]), binary.LittleEndian.Uint64(b[n+8:])
	switch rest := b[n+16:]; {
	case b[0] == 1:
		id.path = string(rest)
	case b[0] == 2 && len(rest) >= 19 && len(rest) >= 19+int(binary.LittleEndian.Uint16(rest[17:])):
		id.system = binary.LittleEndian.Uint64(rest)
		id.head = head{bits: rest[8], sum: wire.Hash(binary.LittleEndian.Uint64(rest[9:]))}
		n := int(binary.LittleEndian.Uint16(rest[17:]))
		id.path, id.real = string(rest[19:19+n]), string(rest[19+n:])
	default:
		return identity{}, errIdentity
	}
	return id, nil
}

func (f *follower) id() identity {
	f.mu.Lock()
	path, real := f.label(), f.target()
	f.mu.Unlock()
	return identity{handle: f.file.handle, device: f.key.device, inode: f.key.inode, system: f.file.system,
		head: headOf(f.file.headSums()), path: path, real: real}
}

func (f *follower) identity() []byte {
	if f.isArchive() {
		id := archiveIdentity{damaged: f.unpacking.damaged, head: headOf(f.file.headSums()), path: f.path}
		return id.append(nil)
	}
	id := f.id()
	return id.append(nil)
}

// position returns the follower's place as a saved position.
func (f *follower) position() *savedPosition {
	f.mu.Lock()
	stream, local, sent, agreed := f.place.stream, f.place.local, f.place.sent.Offset, f.place.agreed
	opened, text := f.checks.opened, f.textLocked()
	local.trail = slices.Clone(local.trail)
	f.mu.Unlock()
	m := f.positionOf(stream, &local, sent)
	text.Start = m.Start
	m.unsentText = text
	if m.Offset > 0 {
		m.head = f.headBefore(m, agreed, opened)
	}
	return m
}

// textLocked returns what a saved position says of the file's text.
func (f *follower) textLocked() unsentText {
	x := unsentText{Former: f.former.saved(), Unsought: nanoseconds(f.unsought)}
	switch {
	case !f.unplacedLocked():
		x.Begun, x.More = nanoseconds(f.sentSince), f.size > f.place.local.Offset
	case f.size > 0:
		x.Begun = nanoseconds(f.begun)
		fallthrough
	default:
		x.Seen = nanoseconds(f.modified)
	}
	if f.now != f.label() {
		x.Now = f.now
	}
	if f.maybeCopy {
		x.LostOf = f.lostOf
	}
	return x
}

// headBefore returns how the text begins in which a saved position is. The file may have been truncated since: then it
// began as the last saved position of the epoch says, or as when the stream was opened.
func (f *follower) headBefore(m *savedPosition, agreed bool, opened head) head {
	now := m.head
	if !agreed && f.checks.saved.bits > 0 {
		now = f.checks.saved
	}
	if was := f.t.positions.get(m.Stream); was != nil && was.Offset > 0 && was.Epoch == m.Epoch {
		opened = was.head
	} else if !agreed {
		return now
	}
	if opened.begins(f.file.headSums()) {
		return now
	}
	return opened
}

// positionOf returns a saved position of a stream in this follower's file, which keeps the trail.
func (f *follower) positionOf(id wire.StreamID, b *localState, sent int64) *savedPosition {
	return &savedPosition{Stream: id, Epoch: b.epoch, Point: b.Point, Trail: b.trail, Lines: b.lines,
		Log: b.log, Agent: f.t.Agent, Sent: max(sent, b.Offset), identity: f.id(),
		unsentText: unsentText{Start: b.unsent}}
}

// beginning is what is remembered of a file's first bytes.
type beginning struct {
	bytes []byte // no more than firstBytes: enough to distinguish most of many small files
	sums  []wire.Hash
}

const firstBytes = 128

func beginningOf(b []byte) *beginning {
	return &beginning{slices.Clone(b[:min(len(b), firstBytes)]), headsOf(b)}
}

// like reports whether a file may begin with all of another one's beginning.
func (b *beginning) like(short *beginning) bool {
	last := len(short.sums) - 1
	return len(b.sums) > last && b.sums[last] == short.sums[last] && bytes.HasPrefix(b.bytes, short.bytes)
}

// headSums returns the hashes of the file's beginning, which is read again until all are
// known.
func (f *file) headSums() []wire.Hash {
	b := f.begins.Load()
	if b == nil || len(b.sums) < headBits {
		b = beginningOf(f.head(headSize))
		f.begins.Store(b)
	}
	return b.sums
}

// sameDisk reports whether a saved position's file is on this file's file system.
func (f *follower) sameDisk(m *savedPosition) bool {
	return f.isOn(&m.identity) || m.told != nil && f.isOn(m.told)
}

// isOn reports whether a file with this identity is on this file's file system.
func (f *follower) isOn(id *identity) bool {
	if id.system != 0 && f.file.system != 0 {
		return id.system == f.file.system
	}
	return id.device == f.key.device
}

// has reports whether the file holds what was sent of a saved position's file: the same beginning, and
// the same bytes before the saved position.
func (f *follower) has(m *savedPosition) bool {
	return m.Offset > 0 && m.head.begins(f.file.headSums()) && f.file.holds(m.Point)
}

// sameFile reports whether a saved position's file is this one. A file system uses a handle only once,
// so within it a handle is proof, whatever the content is now. After another boot or mount
// the file system may look like another one: then the content must agree. It must agree
// with an inode, too, which is used again.
func (f *follower) sameFile(m *savedPosition) bool {
	byHandle := len(f.file.handle) > 0 && len(m.handle) > 0
	switch {
	case byHandle && !bytes.Equal(f.file.handle, m.handle), !byHandle && m.inode != f.key.inode:
		return false
	case byHandle && f.sameDisk(m):
		return true
	case m.Offset == 0: // nothing was sent, so there is nothing to compare
		return f.sameDisk(m) || m.path == f.name()
	}
	return f.has(m)
}
