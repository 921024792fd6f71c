package join

import (
	"crypto/rand"
	"crypto/sha256"
	b64 "encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"strings"
)

// SecretSize is the size of the secret in a token: 160 random bits.
const SecretSize = 20

// Secret is what shows that a host was invited.
type Secret [SecretSize]byte

// NewSecret makes a random secret.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails
	return s
}

// Hash is the SHA-256 of the secret, which the collector stores in its place.
func (s Secret) Hash() [sha256.Size]byte { return sha256.Sum256(s[:]) }

// Pin is the SHA-256 of an authority's public key, as its certificate has it
// (SubjectPublicKeyInfo, RFC 5280).
type Pin [sha256.Size]byte

// Token is what `pki invite` prints. As text it is one word: the prefix, and in base64 (URL
// alphabet, no padding, RFC 4648, 5) these bytes:
//
//	 0       1        33         53       54          54+A     55+A        55+A+N     59+A+N
//	+---------+--------+----------+--------+-----------+--------+-----------+----------+
//	| version | pin    | secret   | A      | address   | N      | name      | CRC-32C  |
//	| 1       | 32     | 20       | 1..255 | A bytes   | 0..64  | N bytes   | 4, BE    |
//	+---------+--------+----------+--------+-----------+--------+-----------+----------+
//
// The checksum covers all bytes before it: a token that was cut or mistyped is refused before
// anything is sent.
type Token struct {
	Authority Pin
	Secret    Secret
	Address   string // of the collector, host:port
	Name      string // of the host; "": the host has its own, and the invitation is for many
}

const (
	tokenPrefix = "fanin1_"
	tokenHead   = 1 + len(Pin{}) + SecretSize
	maxAddress  = 255
	maxToken    = 1 << 10 // characters
)

var (
	crc      = crc32.MakeTable(crc32.Castagnoli)
	encoding = b64.RawURLEncoding.Strict()
)

// String is the token as text.
func (t *Token) String() string {
	b := append([]byte{version}, t.Authority[:]...)
	b = append(b, t.Secret[:]...)
	b = append(append(b, byte(len(t.Address))), t.Address...)
	b = append(append(b, byte(len(t.Name))), t.Name...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc))
	return tokenPrefix + encoding.EncodeToString(b)
}

// Check reports why a token cannot be used.
func (t *Token) Check() error {
	host, port, err := net.SplitHostPort(t.Address)
	if err != nil || host == "" || port == "" || len(t.Address) > maxAddress {
		return fmt.Errorf("%.80q is no address of a collector; want host:port", t.Address)
	}
	if t.Name == "" {
		return nil
	}
	return CheckName(t.Name)
}

var errToken = errors.New("this is no complete token: copy the whole line that fanin-collector pki invite printed, " +
	"which begins with " + tokenPrefix)

// ParseToken reads a token. White space around it does not count.
func ParseToken(text string) (t Token, err error) {
	text = strings.TrimSpace(text)
	body, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(text) > maxToken {
		return t, errToken
	}
	b, err := encoding.DecodeString(body)
	if err != nil || len(b) < tokenHead+2+4 {
		return t, errToken
	}
	end := len(b) - 4
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], crc) {
		return t, errToken
	}
	if b[0] != version {
		return t, fmt.Errorf("the token is of version %d, and this program knows version %d: update it", b[0], version)
	}
	b = b[1:end]
	b = b[copy(t.Authority[:], b):]
	b = b[copy(t.Secret[:], b):]
	if t.Address, b, ok = text8(b); !ok {
		return Token{}, errToken
	}
	if t.Name, b, ok = text8(b); !ok || len(b) > 0 {
		return Token{}, errToken
	}
	if err := t.Check(); err != nil {
		return Token{}, fmt.Errorf("the token: %w", err)
	}
	return t, nil
}

// text8 takes a text with its length in a byte before it.
func text8(b []byte) (text string, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
