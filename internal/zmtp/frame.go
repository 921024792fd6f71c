package zmtp

import "encoding/binary"

// A frame (RFC 37, "Framing"). Sizes are those of the body, in network byte order:
//
//	 0       1        2
//	+-------+--------+----------------------+
//	| flags |  size  | body                 |   short: LONG is 0, up to 255 bytes
//	+-------+--------+----------------------+
//
//	 0       1                               9
//	+-------+-------------------------------+----------------------+
//	| flags |  size, 8 bytes                | body                 |   long: LONG is 1
//	+-------+-------------------------------+----------------------+
//
//	flags: 0 0 0 0 0 COMMAND LONG MORE
//
// MORE: the message goes on with the next frame. A command is one frame, without MORE.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
	flagsKnown  = flagMore | flagLong | flagCommand

	shortHeader = 2
	longHeader  = 9
)

// header is what precedes the body of a frame.
type header struct {
	flags  byte
	length int   // of the header itself: shortHeader or longHeader
	size   int64 // of the body
}

// parseHeader reads the header that b begins with. ok is false while b is too short.
func parseHeader(b []byte) (h header, ok bool, err error) {
	if len(b) < shortHeader {
		return h, false, nil
	}
	flags := b[0]
	if flags&^flagsKnown != 0 || flags&(flagCommand|flagMore) == flagCommand|flagMore {
		return h, false, failf(Malformed, "the peer sent a frame with the flags %#02x, which do not exist", flags)
	}
	if flags&flagLong == 0 {
		return header{flags, shortHeader, int64(b[1])}, true, nil
	}
	if len(b) < longHeader {
		return h, false, nil
	}
	size := binary.BigEndian.Uint64(b[1:])
	if size>>63 != 0 {
		return h, false, failf(Malformed, "the peer sent a frame of %d bytes; ZMTP allows less than 2^63", size)
	}
	return header{flags, longHeader, int64(size)}, true, nil
}

// appendHeader appends the header of a frame with a body of size bytes.
func appendHeader(b []byte, flags byte, size int) []byte {
	if size <= 255 {
		return append(b, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(size))
}
