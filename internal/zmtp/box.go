package zmtp

import (
	"encoding/binary"
	"encoding/hex"
	"errors"

	nacl "golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/salsa20"
)

// After a CURVE handshake each frame is the body of one MESSAGE (RFC 26), in a frame whose own
// flags are zero, as libzmq sends it; COMMAND, as the RFC has it, is accepted:
//
//	 0             8               16                  32      33
//	+-------------+---------------+-------------------+-------+--------------
//	| 7 "MESSAGE" | nonce, 8      | authenticator, 16 | flags | body
//	+-------------+---------------+-------------------+-------+--------------
//	                                                  |<-- encrypted ------->
//
// The flags are those of the frame inside: 1 is MORE, and 2 is COMMAND, as libzmq has it; the RFC
// knows no commands here. 4, as in a frame, is accepted for COMMAND as well. The nonce of a box is 16 characters,
// "CurveZMQMESSAGEC" from the client or "CurveZMQMESSAGES" from the server, and the 8 bytes, a
// number that grows with each box of one side. A number that does not is a replay.
const (
	messageName = "\x07MESSAGE"
	nonceAt     = len(messageName)
	boxAt       = nonceAt + 8
	flagsAt     = boxAt + secretbox.Overhead
	boxOverhead = flagsAt + 1

	boxCommand = 2
)

// box seals and opens the frames of one connection.
type box struct {
	key  [32]byte // of both transient keys
	send nonce    // of the last box sent
	got  nonce    // of the last box received

	plain []byte // flags and body, before they are sealed
}

// nonce is 16 characters and a number.
type nonce [24]byte

func newNonce(prefix string) (n nonce) {
	copy(n[:], prefix)
	return n
}

// next counts up and returns the nonce.
func (n *nonce) next() *[24]byte {
	binary.BigEndian.PutUint64(n[16:], n.number()+1)
	return (*[24]byte)(n)
}

// accept takes a number from a peer, which must be above the last one.
func (n *nonce) accept(number []byte) error {
	if got := binary.BigEndian.Uint64(number); got <= n.number() {
		return failf(Replayed, "the peer sent a CURVE box with the nonce %d after %d: a replay", got, n.number())
	}
	copy(n[16:], number)
	return nil
}

func (n *nonce) number() uint64 { return binary.BigEndian.Uint64(n[16:]) }

// weakKey is what a public key of small order, such as zero, gives with each secret key: HSalsa20
// of zeros. Who sends such a key proves nothing.
const weakKey = "351f86faa3b988468a850122b65b0acece9c4826806aeee63de9c0da2bd7f91e"

// precompute returns the key that the owners of two key pairs share.
func precompute(public Key, secret SecretKey) (key [32]byte, err error) {
	nacl.Precompute(&key, (*[32]byte)(&public), (*[32]byte)(&secret))
	if hex.EncodeToString(key[:]) == weakKey {
		return key, failf(Malformed, "the peer sent a CURVE key that proves nothing")
	}
	return key, nil
}

// appendFrame appends a frame with a sealed MESSAGE.
func (x *box) appendFrame(b []byte, flags byte, body []byte) []byte {
	if flags&flagCommand != 0 {
		flags = boxCommand
	}
	x.plain = append(append(x.plain[:0], flags), body...)
	b = appendHeader(b, 0, boxOverhead+len(body))
	b = append(b, messageName...)
	n := x.send.next()
	b = append(b, n[16:]...)
	b = secretbox.Seal(b, x.plain, n, &x.key)
	if cap(x.plain) > maxOut {
		x.plain = nil
	}
	return b
}

// check looks at the first boxOverhead bytes of a MESSAGE and takes its nonce.
func (x *box) check(body []byte) error {
	if len(body) < boxOverhead || string(body[:nonceAt]) != messageName {
		return failf(Malformed, "the peer sent a frame that is no CURVE MESSAGE")
	}
	return x.got.accept(body[nonceAt:boxAt])
}

// peekFlags decrypts the flags of a box that is not to be opened, because it is too large. They
// are not authenticated; they only tell whether the message goes on behind it.
func (x *box) peekFlags(body []byte) byte {
	in := append(make([]byte, 32), body[flagsAt]) // the first 32 bytes are the authenticator's key
	salsa20.XORKeyStream(in, in, x.got[:], &x.key)
	flags, _ := frameFlags(in[32])
	return flags
}

// frameFlags returns the flags of a frame for those in a box.
func frameFlags(inside byte) (flags byte, ok bool) {
	flags = inside & flagMore
	if inside&(boxCommand|flagCommand) != 0 {
		flags |= flagCommand
	}
	return flags, inside&^(flagMore|boxCommand|flagCommand) == 0 && flags != flagMore|flagCommand
}

// open opens a checked MESSAGE in place. The plain text, without flags, begins at boxAt. space is
// as long as the body at least, and does not overlap it.
func (x *box) open(body, space []byte) (flags byte, size int, err error) {
	plain, ok := secretbox.Open(space[:0], body[boxAt:], (*[24]byte)(&x.got), &x.key)
	if !ok {
		return 0, 0, failf(Malformed, "the peer sent a CURVE box that does not open: "+
			"it was changed on its way, or has another key")
	}
	if flags, ok = frameFlags(plain[0]); !ok {
		return 0, 0, failf(Malformed, "the peer sent a CURVE box with the flags %#02x, which do not exist", plain[0])
	}
	return flags, copy(body[boxAt:], plain[1:]), nil
}

// stepBox is step for a frame with header h that holds a MESSAGE.
func (c *Conn) stepBox(h header) (event, error) {
	m := &c.msg
	body := m.pos + h.length
	if h.flags&flagMore != 0 || h.size < int64(boxOverhead) {
		return nothing, failf(Malformed, "the peer sent a frame that is no CURVE MESSAGE")
	}
	if m.need = body + boxOverhead; m.need > c.in.w-c.in.r {
		return nothing, nil
	}
	if size := h.size - int64(boxOverhead); size > maxCommand && (m.skipping || size > int64(c.limit-m.total)) {
		b := c.in.bytes()[body:]
		if err := c.box.check(b[:boxOverhead]); err != nil {
			return nothing, err
		}
		return c.admit(h, c.box.peekFlags(b), size)
	}
	if m.need = body + int(h.size); m.need > c.in.w-c.in.r {
		return nothing, nil
	}
	space, err := c.in.scratch(c.ctx, int(h.size))
	if errors.Is(err, ErrNoMemory) {
		return progress, c.refuse()
	}
	if err != nil {
		return nothing, err
	}
	b := c.in.bytes()[body:m.need]
	if err := c.box.check(b); err != nil {
		return nothing, err
	}
	flags, size, err := c.box.open(b, space)
	if err != nil {
		return nothing, err
	}
	if e, err := c.admit(h, flags, int64(size)); e != message {
		return e, err
	}
	m.pos = m.need
	return c.take(flags, span{body + boxAt, body + boxAt + size})
}
