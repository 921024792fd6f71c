package zmtp

import (
	"crypto/rand"
	"errors"

	"golang.org/x/crypto/curve25519"
)

// Key is a public CURVE key: 32 bytes.
type Key [32]byte

// SecretKey is a secret CURVE key: 32 bytes. It does not print.
type SecretKey [32]byte

// ParseKey reads a key in Z85 (RFC 32): 40 characters. The error does not show the text, which
// may be a secret.
func ParseKey(text string) (Key, error) {
	var k Key
	b, err := decodeZ85(text)
	if err != nil || len(b) != len(k) {
		return k, errors.New("not a CURVE key: want 40 characters of Z85")
	}
	return Key(b), nil
}

// String returns the key in Z85.
func (k Key) String() string { return encodeZ85(k[:]) }

// String does not tell the key.
func (SecretKey) String() string { return "(secret)" }

// GoString does not tell the key.
func (SecretKey) GoString() string { return "(secret)" }

// Public returns the public key that belongs to k.
func (k SecretKey) Public() (Key, error) {
	b, err := curve25519.X25519(k[:], curve25519.Basepoint)
	if err != nil {
		return Key{}, err
	}
	return Key(b), nil
}

// NewSecretKey returns a random secret key.
func NewSecretKey() (SecretKey, error) {
	var k SecretKey
	_, err := rand.Read(k[:])
	return k, err
}
