package zmtp

import (
	"crypto/rand"
	"crypto/subtle"

	"golang.org/x/crypto/nacl/secretbox"
)

// The CURVE mechanism (RFC 26). C and S are the long-term keys of client and server, C' and S'
// those of this connection; small letters are the secret ones. Box[x](a->B) is x sealed with a and
// B. K is a key that only the server knows, for one connection.
//
//	client  5 "HELLO"  1 0  72 zeros  32: C'  8: nonce  80: Box[64 zeros](c'->S)
//	server  7 "WELCOME"  16: nonce  144: Box[32: S', cookie](s->C')
//	client  8 "INITIATE"  cookie  8: nonce  Box[32: C, 16: nonce, 80: Box[C', S](c->S'), metadata](c'->S')
//	server  5 "READY"  8: nonce  Box[metadata](s'->C')
//
//	cookie  16: nonce  80: Box[C', s'](K)
//
// Between WELCOME and INITIATE the server keeps K alone: C' and s' come back with the cookie.
// Nonces of 8 bytes are numbers that grow by one with each box of one side, behind the 16
// characters below; those of 16 bytes are random, behind 8 characters.
const (
	helloNonce    = "CurveZMQHELLO---"
	initiateNonce = "CurveZMQINITIATE"
	readyNonce    = "CurveZMQREADY---"
	clientNonce   = "CurveZMQMESSAGEC"
	serverNonce   = "CurveZMQMESSAGES"
	welcomeNonce  = "WELCOME-"
	cookieNonce   = "COOKIE--"
	vouchNonce    = "VOUCH---"

	keySize  = 32
	boxed    = secretbox.Overhead
	longSize = 16 // of a random nonce
	numSize  = 8  // of a number

	helloKeyAt   = 2 + 72
	helloNumAt   = helloKeyAt + keySize
	helloBoxAt   = helloNumAt + numSize
	helloSize    = helloBoxAt + boxed + 64
	cookieSize   = longSize + boxed + 2*keySize
	welcomeSize  = longSize + boxed + keySize + cookieSize
	vouchAt      = keySize
	vouchSize    = longSize + boxed + 2*keySize
	initiateHead = cookieSize + numSize
)

// keyPair is a key of one connection.
type keyPair struct {
	secret SecretKey
	public Key
}

func newKeyPair() (p keyPair, err error) {
	if p.secret, err = NewSecretKey(); err == nil {
		p.public, err = p.secret.Public()
	}
	return p, err
}

// seal appends plain to b, sealed with n from the owner of secret to the owner of public.
func seal(b, plain []byte, n *[24]byte, public Key, secret SecretKey) ([]byte, error) {
	key, err := precompute(public, secret)
	if err != nil {
		return nil, err
	}
	return secretbox.Seal(b, plain, n, &key), nil
}

// unseal opens what the owner of public sealed for the owner of secret.
func unseal(sealed []byte, n *[24]byte, public Key, secret SecretKey) (plain []byte, ok bool) {
	key, err := precompute(public, secret)
	if err != nil {
		return nil, false
	}
	return secretbox.Open(nil, sealed, n, &key)
}

// longNonce returns a nonce of 8 characters and 16 bytes.
func longNonce(prefix string, random []byte) *[24]byte {
	n := newNonce(prefix)
	copy(n[len(prefix):], random)
	return (*[24]byte)(&n)
}

// numbered returns prefix with the number of n.
func numbered(prefix string, n *nonce) *[24]byte {
	m := newNonce(prefix)
	copy(m[16:], n[16:])
	return (*[24]byte)(&m)
}

// curveServer speaks CURVE as the server.
func (h *handshake) curveServer(k *Curve) (*box, error) {
	x := &box{send: newNonce(serverNonce), got: newNonce(clientNonce)}
	var cookieKey [32]byte
	if _, err := rand.Read(cookieKey[:]); err != nil {
		return nil, err
	}
	data, err := h.expect(hello)
	if err != nil {
		return nil, err
	}
	err = aside(func() error {
		client, err := openHello(data, k, x)
		if err != nil {
			return err
		}
		return h.sendWelcome(client, k, &cookieKey)
	})
	if err != nil {
		return nil, err
	}
	if data, err = h.expect(initiate); err != nil {
		return nil, err
	}
	return x, aside(func() error { return h.answerInitiate(data, k, &cookieKey, x) })
}

// aside runs f on a goroutine of its own and waits for it: cryptography needs a deep stack, which
// a goroutine would keep while it waits for its peer.
func aside(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }() // ends with f
	return <-done
}

// answerInitiate takes INITIATE, and sends READY to a client that is accepted.
func (h *handshake) answerInitiate(data []byte, k *Curve, cookieKey *[32]byte, x *box) error {
	metadata, err := h.openInitiate(data, k, cookieKey, x)
	if err != nil {
		return err
	}
	if k.Clients != nil && !k.Clients[h.peer.Key] {
		h.refuse(denied)
		return failf(Credentials, "the client's public key %s is not among the accepted ones: "+
			"add it to the file of clients, and start the client again", h.peer.Key)
	}
	if err := h.meet(metadata); err != nil {
		return err
	}
	return h.sendReady(x, appendMetadata(nil, h.o))
}

// sendReady sends READY.
func (h *handshake) sendReady(x *box, metadata []byte) error {
	n := numbered(readyNonce, (*nonce)(x.send.next()))
	sealed := secretbox.Seal(append([]byte(nil), n[16:]...), metadata, n, &x.key)
	return h.write(appendCommand(nil, ready, sealed))
}

// openHello returns C'.
func openHello(data []byte, k *Curve, x *box) (client Key, err error) {
	if len(data) != helloSize || data[0] != 1 || data[1] != 0 {
		return client, failf(Malformed, "the peer's HELLO is not that of CURVE 1.0")
	}
	client = Key(data[helloKeyAt:helloNumAt])
	if err := x.got.accept(data[helloNumAt:helloBoxAt]); err != nil {
		return client, err
	}
	plain, ok := unseal(data[helloBoxAt:], numbered(helloNonce, &x.got), client, k.Secret)
	if !ok {
		public, err := k.Secret.Public()
		if err != nil {
			return client, err
		}
		return client, failf(Credentials, "the client has another server key: this server's public key is %s", public)
	}
	if subtle.ConstantTimeCompare(plain, make([]byte, 64)) != 1 {
		return client, failf(Malformed, "the peer's HELLO is not that of CURVE 1.0")
	}
	return client, nil
}

// sendWelcome makes S' and sends WELCOME. Nothing of it is kept.
func (h *handshake) sendWelcome(client Key, k *Curve, cookieKey *[32]byte) error {
	pair, err := newKeyPair()
	if err != nil {
		return err
	}
	var random [2 * longSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	plain := append(make([]byte, 0, keySize+cookieSize), pair.public[:]...)
	plain = append(plain, random[:longSize]...)
	secrets := append(append(make([]byte, 0, 2*keySize), client[:]...), pair.secret[:]...)
	plain = secretbox.Seal(plain, secrets, longNonce(cookieNonce, random[:longSize]), cookieKey)
	data := append(make([]byte, 0, welcomeSize), random[longSize:]...)
	data, err = seal(data, plain, longNonce(welcomeNonce, random[longSize:]), client, k.Secret)
	if err != nil {
		return err
	}
	return h.write(appendCommand(nil, welcome, data))
}

// openInitiate returns the client's metadata, sets the peer's key, and completes x.
func (h *handshake) openInitiate(data []byte, k *Curve, cookieKey *[32]byte, x *box) ([]byte, error) {
	if len(data) < initiateHead+boxed+keySize+vouchSize {
		return nil, failf(Malformed, "the peer's INITIATE is not that of CURVE 1.0")
	}
	secrets, ok := secretbox.Open(nil, data[longSize:cookieSize], longNonce(cookieNonce, data[:longSize]), cookieKey)
	if !ok {
		return nil, failf(Replayed, "the peer's INITIATE has a cookie of another connection: a replay")
	}
	client, secret := Key(secrets[:keySize]), SecretKey(secrets[keySize:])
	if err := x.got.accept(data[cookieSize:initiateHead]); err != nil {
		return nil, err
	}
	var err error
	if x.key, err = precompute(client, secret); err != nil {
		return nil, err
	}
	plain, ok := secretbox.Open(nil, data[initiateHead:], numbered(initiateNonce, &x.got), &x.key)
	if !ok {
		return nil, failf(Credentials, "the peer's INITIATE does not open: it does not have the key it began with")
	}
	h.peer.Key = Key(plain[:keySize])
	vouch, metadata := plain[vouchAt:vouchAt+vouchSize], plain[vouchAt+vouchSize:]
	public, err := k.Secret.Public()
	if err != nil {
		return nil, err
	}
	said, ok := unseal(vouch[longSize:], longNonce(vouchNonce, vouch[:longSize]), h.peer.Key, secret)
	if !ok || Key(said[:keySize]) != client || Key(said[keySize:]) != public {
		return nil, failf(Credentials, "the client does not own the public key %s that it claims", h.peer.Key)
	}
	return metadata, nil
}

// curveClient speaks CURVE as the client.
func (h *handshake) curveClient(k *Curve) (*box, error) {
	x := &box{send: newNonce(clientNonce), got: newNonce(serverNonce)}
	pair, err := newKeyPair()
	if err != nil {
		return nil, err
	}
	if err := h.sendHello(pair, k, x); err != nil {
		return nil, err
	}
	h.hint = ": its public key may not be the server key that this socket has"
	data, err := h.expect(welcome)
	if err != nil {
		return nil, err
	}
	server, cookie, err := openWelcome(data, pair, k)
	if err != nil {
		return nil, err
	}
	if x.key, err = precompute(server, pair.secret); err != nil {
		return nil, err
	}
	if err := h.sendInitiate(server, cookie, pair, k, x, appendMetadata(nil, h.o)); err != nil {
		return nil, err
	}
	h.hint = ": it may not accept this socket's public key"
	if data, err = h.expect(ready); err != nil {
		return nil, err
	}
	if len(data) < numSize {
		return nil, failf(Malformed, "the peer's READY is not that of CURVE 1.0")
	}
	if err := x.got.accept(data[:numSize]); err != nil {
		return nil, err
	}
	metadata, ok := secretbox.Open(nil, data[numSize:], numbered(readyNonce, &x.got), &x.key)
	if !ok {
		return nil, failf(Malformed, "the peer's READY does not open")
	}
	h.peer.Key = k.ServerKey
	return x, h.meet(metadata)
}

// sendHello sends HELLO, with 64 zeros in a box that only the owner of S opens.
func (h *handshake) sendHello(pair keyPair, k *Curve, x *box) error {
	n := numbered(helloNonce, (*nonce)(x.send.next()))
	data := make([]byte, helloKeyAt, helloSize)
	data[0] = 1 // CURVE 1.0
	data = append(append(data, pair.public[:]...), n[16:]...)
	data, err := seal(data, make([]byte, 64), n, k.ServerKey, pair.secret)
	if err != nil {
		return err
	}
	return h.write(appendCommand(nil, hello, data))
}

// openWelcome returns S' and the cookie.
func openWelcome(data []byte, pair keyPair, k *Curve) (server Key, cookie []byte, err error) {
	if len(data) != welcomeSize {
		return server, nil, failf(Malformed, "the peer's WELCOME is not that of CURVE 1.0")
	}
	plain, ok := unseal(data[longSize:], longNonce(welcomeNonce, data[:longSize]), k.ServerKey, pair.secret)
	if !ok {
		return server, nil, failf(Credentials, "the server does not own the key %s: "+
			"it is another server, or has a new key", k.ServerKey)
	}
	return Key(plain[:keySize]), plain[keySize:], nil
}

// sendInitiate sends INITIATE: who the client is, vouched for with its long-term key.
func (h *handshake) sendInitiate(server Key, cookie []byte, pair keyPair, k *Curve, x *box, metadata []byte) error {
	public, err := k.Secret.Public()
	if err != nil {
		return err
	}
	var random [longSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	plain := append(append([]byte(nil), public[:]...), random[:]...)
	said := append(append([]byte(nil), pair.public[:]...), k.ServerKey[:]...)
	if plain, err = seal(plain, said, longNonce(vouchNonce, random[:]), server, k.Secret); err != nil {
		return err
	}
	plain = append(plain, metadata...)
	n := numbered(initiateNonce, (*nonce)(x.send.next()))
	data := append(append([]byte(nil), cookie...), n[16:]...)
	return h.write(appendCommand(nil, initiate, secretbox.Seal(data, plain, n, &x.key)))
}
