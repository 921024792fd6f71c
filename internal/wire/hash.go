package wire

import (
	"crypto/sha256"
	"encoding/binary"
)

// TailSize is how many bytes before an offset its tail hash covers.
const TailSize = 4 << 10

// Hash is the first 8 bytes, big endian, of the SHA-256 of at most TailSize
// bytes before an offset. It distinguishes a source that was truncated and has grown
// again from one that only grew, even if an attacker chose the bytes. At offset 0 it
// is 0.
type Hash uint64

// TailHash is the hash of the last TailSize bytes of b.
func TailHash(b []byte) Hash {
	if len(b) == 0 {
		return 0
	}
	if len(b) > TailSize {
		b = b[len(b)-TailSize:]
	}
	sum := sha256.Sum256(b)
	return Hash(binary.BigEndian.Uint64(sum[:8]))
}
