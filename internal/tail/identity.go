package tail

import (
	"encoding/binary"
	"errors"

	"fanin/internal/wire"
)

// identity is what tells one file from all others. The path is a label.
type identity struct {
	handle        []byte // the file system's own name for it, see disk.Handle; may be empty
	device, inode uint64
	path          string
}

// The collector keeps the identity for agents that lose their state:
//
//	0 version, 1 · 1 length of the handle, 1 byte · handle · device, 8 bytes, little endian · inode, 8 bytes · path, to the end
//
// A path too long for it keeps its end.
func (id *identity) append(dst []byte) []byte {
	handle := id.handle
	if len(handle) > 128 {
		handle = nil
	}
	dst = append(dst, 1, byte(len(handle)))
	dst = append(dst, handle...)
	dst = binary.LittleEndian.AppendUint64(dst, id.device)
	dst = binary.LittleEndian.AppendUint64(dst, id.inode)
	path := id.path
	if over := len(dst) + len(path) - wire.MaxIdentity; over > 0 {
		path = path[over:]
	}
	return append(dst, path...)
}

func parseIdentity(b []byte) (id identity, err error) {
	if len(b) < 2 || b[0] != 1 || len(b) < 2+int(b[1])+16 {
		return id, errors.New("not an identity")
	}
	n := 2 + int(b[1])
	if n > 2 {
		id.handle = b[2:n]
	}
	id.device, id.inode = binary.LittleEndian.Uint64(b[n:]), binary.LittleEndian.Uint64(b[n+8:])
	id.path = string(b[n+16:])
	return id, nil
}

func (f *Follower) id() identity {
	return identity{handle: f.file.handle, device: f.key.device, inode: f.key.inode, path: f.label()}
}

func (f *Follower) identity() []byte {
	id := f.id()
	return id.append(nil)
}

// mark is the follower's place as a mark.
func (f *Follower) mark() *mark { return f.markOf(f.stream, &f.belief) }

// markOf is a mark of a stream in this follower's file.
func (f *Follower) markOf(id wire.StreamID, b *belief) *mark {
	return &mark{Stream: id, Epoch: b.epoch, Point: b.Point, Trail: append([]wire.Point(nil), b.trail...), Lines: b.lines, Life: b.log, identity: f.id()}
}
