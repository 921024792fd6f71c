package zmtp

import (
	"encoding/hex"
	"testing"

	nacl "golang.org/x/crypto/nacl/box"
)

// Public keys of small order are refused: they share the same key with everybody.
func TestWeakKey(t *testing.T) {
	secret, public := newSecret(t)
	for _, low := range []byte{0, 1} {
		var key [32]byte
		weak := Key{low}
		nacl.Precompute(&key, (*[32]byte)(&weak), (*[32]byte)(&secret))
		if got := hex.EncodeToString(key[:]); got != weakKey {
			t.Errorf("with %d: %s; want %s", low, got, weakKey)
		}
		if _, err := precompute(weak, secret); err == nil {
			t.Errorf("the key %d is taken", low)
		}
	}
	if _, err := precompute(public, secret); err != nil {
		t.Error(err)
	}
}
