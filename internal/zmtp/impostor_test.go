package zmtp

import (
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
)

// A client that claims another one's key, which the server accepts, does not get in: it cannot
// vouch for its connection with that key.
func TestImpostor(t *testing.T) {
	serverKeys, mine := fuzzKeys(t)
	myKey, err := mine.Secret.Public()
	if err != nil {
		t.Fatal(err)
	}
	_, other := newSecret(t)
	serverKeys.Clients = map[Key]bool{myKey: true, other: true}
	for _, test := range []struct {
		name  string
		claim Key                       // C
		vouch func(pair keyPair) []byte // what it seals with its own key
		want  Reason
	}{
		{"honest", myKey, func(p keyPair) []byte { return append(p.public[:], mine.ServerKey[:]...) }, ""},
		{"another one's key", other, func(p keyPair) []byte { return append(p.public[:], mine.ServerKey[:]...) }, Credentials},
		{"a vouch for another connection", myKey, func(keyPair) []byte { return append(other[:], mine.ServerKey[:]...) }, Credentials},
		{"a vouch for another server", myKey, func(p keyPair) []byte { return append(p.public[:], other[:]...) }, Credentials},
	} {
		client, server, end := sides(-1, Push, Pull)
		done := make(chan error, 1)
		go func() { // ends with the handshake
			_, err := server.curveServer(serverKeys)
			done <- err
			end()
		}()
		b := beginCurve(t, client, mine)
		if b == nil {
			t.Fatal("no WELCOME")
		}
		random := make([]byte, longSize)
		plain := append(append([]byte(nil), test.claim[:]...), random...)
		plain, err = seal(plain, test.vouch(b.pair), longNonce(vouchNonce, random), b.server, mine.Secret)
		if err != nil {
			t.Fatal(err)
		}
		plain = appendMetadata(plain, client.o)
		n := numbered(initiateNonce, (*nonce)(b.x.send.next()))
		sealed := secretbox.Seal(append(append([]byte(nil), b.cookie...), n[16:]...), plain, n, &b.x.key)
		client.write(appendCommand(nil, initiate, sealed))
		client.expect(ready)
		err = <-done
		if (err == nil) != (test.want == "") {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil {
			wantReason(t, err, test.want)
		}
	}
}
