package zmtp

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Z85 (RFC 32) writes 4 bytes, a number in network byte order, as 5 characters, digits of base 85.
const z85Digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

var errZ85 = errors.New("not Z85")

// encodeZ85 returns b, whose length is a multiple of 4, in Z85.
func encodeZ85(b []byte) string {
	var text strings.Builder
	for ; len(b) >= 4; b = b[4:] {
		n := binary.BigEndian.Uint32(b)
		for div := uint32(85 * 85 * 85 * 85); div > 0; div /= 85 {
			text.WriteByte(z85Digits[n/div%85])
		}
	}
	return text.String()
}

// decodeZ85 returns what text, whose length is a multiple of 5, stands for.
func decodeZ85(text string) ([]byte, error) {
	if len(text)%5 != 0 {
		return nil, errZ85
	}
	b := make([]byte, 0, len(text)/5*4)
	for ; len(text) > 0; text = text[5:] {
		var n uint64
		for i := range 5 {
			digit := strings.IndexByte(z85Digits, text[i])
			if digit < 0 {
				return nil, errZ85
			}
			n = n*85 + uint64(digit)
		}
		if n > 1<<32-1 {
			return nil, errZ85
		}
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return b, nil
}
