package relp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"fanin/internal/wire"
)

// session is what is known of one session of a peer: the hashes of its last frames that are in
// the log. The log keeps them in blocks, which are extensions of the frames with their lines
// (wire.Extension of the kind ExtensionRELP). A name has 24 bytes:
//
//	0  session  16 random bytes
//	16 block    its number, 8 bytes, big endian: it begins with frame blockFrames * block
//
// The value, little endian:
//
//	0  version  1 byte, 1
//	1  time     when its last frame was read: microseconds since 1970, 8 bytes
//	9  peer     its length, 1 byte, and its bytes
//	.. hashes   of each frame 8 bytes, at most blockFrames
//
// All blocks but the last are full.
type session struct {
	id     sessionID
	peer   string
	begin  uint64   // number of the first frame whose hash is known, a multiple of blockFrames
	hashes []uint64 // of the frames from there on
	conn   *conn    // nil: the session has ended
	ended  time.Time
	flying []uint64 // of the frames that are being committed
	flight int      // number of their commit
	refutation
}

// refutation is what showed that a session which began with a certain frame is no repeat of another one, when the
// text of its frames was gone: the client sends them again, and then they must not be compared.
type refutation struct {
	first uint64 // hash of the frame
	votes int
}

// refuted is how many votes decide. That the frames differ has as many. That no more came has one: they may have
// been late.
const refuted = 2

func (r *refutation) vote(first uint64, n int) {
	if r.first != first {
		*r = refutation{first: first}
	}
	r.votes += n
}

func (r *refutation) holds(first uint64) bool { return r.first == first && r.votes >= refuted }

type sessionID [16]byte

const (
	blockFrames  = 256
	blockVersion = 1
	blockHeader  = 10
	nameSize     = len(sessionID{}) + 8
	maxPeer      = wire.MaxName
)

// The largest block fits an extension.
var _ [wire.MaxExtensionValue - blockHeader - maxPeer - 8*blockFrames]struct{}

func newSession(peer string) *session {
	s := &session{peer: peer}
	rand.Read(s.id[:])
	return s
}

// end returns the number of the next frame.
func (s *session) end() uint64 { return s.begin + uint64(len(s.hashes)) }

// blocks returns how many blocks the log has.
func (s *session) blocks() int { return (len(s.hashes) + blockFrames - 1) / blockFrames }

// blockName returns the name of a block.
func (s *session) blockName(block uint64) string {
	return string(binary.BigEndian.AppendUint64(s.id[:len(s.id):len(s.id)], block))
}

// names appends the names of all blocks that the log has.
func (s *session) names(dst []string) []string {
	for block := s.begin / blockFrames; block*blockFrames < s.end(); block++ {
		dst = append(dst, s.blockName(block))
	}
	return dst
}

// keptFrom returns the first frame that is kept when the session has end frames: the last window
// of them are, and those in the same block.
func keptFrom(end uint64, window int) uint64 {
	if end <= uint64(window) {
		return 0
	}
	return (end - uint64(window)) / blockFrames * blockFrames
}

// record returns what the log is to remember when frames with these hashes are committed.
func (s *session) record(hashes []uint64, window int, at time.Time) (all []wire.Extension) {
	end := s.end() + uint64(len(hashes))
	keep := keptFrom(end, window)
	for block := s.begin / blockFrames; block*blockFrames < min(keep, s.end()); block++ {
		all = append(all, wire.Extension{Kind: wire.ExtensionRELP, Name: s.blockName(block)})
	}
	for block := max(s.end(), keep) / blockFrames; block*blockFrames < end; block++ {
		value := append([]byte{blockVersion}, make([]byte, 8)...)
		binary.LittleEndian.PutUint64(value[1:], uint64(at.UnixMicro()))
		value = append(append(value, byte(len(s.peer))), s.peer...)
		for n := block * blockFrames; n < min(end, (block+1)*blockFrames); n++ {
			value = binary.LittleEndian.AppendUint64(value, s.hash(n, hashes))
		}
		all = append(all, wire.Extension{Kind: wire.ExtensionRELP, Name: s.blockName(block), Value: value})
	}
	return all
}

// hash returns the hash of a frame, which may be among those that come next.
func (s *session) hash(n uint64, next []uint64) uint64 {
	if n < s.end() {
		return s.hashes[n-s.begin]
	}
	return next[n-s.end()]
}

// committed adds frames that are in the log now.
func (s *session) committed(hashes []uint64, window int) {
	if len(hashes) == 0 {
		return
	}
	s.hashes = append(s.hashes, hashes...)
	if keep := keptFrom(s.end(), window); keep > s.begin {
		s.hashes = s.hashes[keep-s.begin:] // append moves them to the front of new memory at times
		s.begin = keep
	}
}

// block is one block as the log has it.
type block struct {
	session sessionID
	number  uint64
	peer    string
	at      time.Time
	hashes  []uint64
}

// parseBlock reads one block.
func parseBlock(name string, value []byte) (b block, err error) {
	if len(name) != nameSize || len(value) < blockHeader || value[0] != blockVersion {
		return b, fmt.Errorf("a block of hashes has a name of %d bytes and a value of %d, or is of a later version",
			len(name), len(value))
	}
	copy(b.session[:], name)
	b.number = binary.BigEndian.Uint64([]byte(name[len(b.session):]))
	b.at = time.UnixMicro(int64(binary.LittleEndian.Uint64(value[1:])))
	peer, hashes := int(value[9]), value[blockHeader:]
	if len(hashes) < peer || (len(hashes)-peer)%8 != 0 || len(hashes)-peer > 8*blockFrames || len(hashes) == peer {
		return b, fmt.Errorf("a block of hashes has %d bytes behind its header", len(hashes))
	}
	b.peer, hashes = string(hashes[:peer]), hashes[peer:]
	for ; len(hashes) > 0; hashes = hashes[8:] {
		b.hashes = append(b.hashes, binary.LittleEndian.Uint64(hashes))
	}
	return b, nil
}

// hashOf returns the hash of a frame's data: the first 8 bytes of its SHA-256.
func hashOf(data []byte) uint64 {
	sum := sha256.Sum256(data)
	return binary.LittleEndian.Uint64(sum[:])
}
