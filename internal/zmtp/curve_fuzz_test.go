package zmtp

import (
	"bytes"
	"net"
	"testing"
)

// changer is a connection that changes the byte at of what is written.
type changer struct {
	net.Conn
	at int // counts down; below zero: nothing is changed
}

func (c *changer) Write(p []byte) (int, error) {
	if c.at >= 0 && c.at < len(p) {
		p = bytes.Clone(p)
		p[c.at] ^= 0x55
	}
	c.at -= len(p)
	return c.Conn.Write(p)
}

// fuzzKeys are a server's key and a client's.
func fuzzKeys(t testing.TB) (server, client *Curve) {
	server = &Curve{Secret: SecretKey{1, 2, 3}}
	public, err := server.Secret.Public()
	if err != nil {
		t.Fatal(err)
	}
	return server, &Curve{Secret: SecretKey{4, 5, 6}, ServerKey: public}
}

// sides returns the two ends of a connection, of which the first changes a byte.
func sides(at int, a, b SocketType) (changing, other *handshake, end func()) {
	na, nb := net.Pipe()
	ca := &changer{na, at}
	changing = &handshake{nc: ca, o: &Options{Type: a}, in: newBuffer(ca, nil)}
	other = &handshake{nc: nb, o: &Options{Type: b}, in: newBuffer(nb, nil)}
	return changing, other, func() { na.Close(); nb.Close() }
}

// checkCurve checks the end of a handshake in which the peer's sealed metadata were anything, and
// the byte at was changed, unless at is beyond what was sent.
func checkCurve(t *testing.T, err error, peer Peer, own SocketType, metadata []byte, at, sent int) {
	t.Helper()
	var want Peer
	good := parseMetadata(metadata, &want) == nil && checkPeer(own, &want) == nil
	if at >= 0 && at < sent {
		good = false
	}
	if (err == nil) != good {
		t.Fatalf("peer %+v, changed at %d of %d: %v", peer, at, sent, err)
	}
	if good && peer.Type != want.Type {
		t.Fatalf("peer %+v; want %+v", peer, want)
	}
}

func addCurveSeeds(f *testing.F, t SocketType) {
	metadata := appendMetadata(nil, &Options{Type: t})
	for _, at := range []int{-1, 1, 40, 120, 250, 300, 400} {
		f.Add(metadata, at)
	}
	f.Add([]byte{}, -1)
	f.Add([]byte{1}, -1)
	f.Add(appendProperty(nil, propertyType, "SUB"), -1)
	f.Add(appendProperty(metadata, "X-Large", string(make([]byte, 1500))), -1)
}

// begun is a client's side of a CURVE handshake after WELCOME.
type begun struct {
	pair   keyPair
	server Key // S'
	cookie []byte
	x      *box
}

// beginCurve sends HELLO and takes WELCOME; nil if the server did not answer.
func beginCurve(t *testing.T, client *handshake, k *Curve) *begun {
	t.Helper()
	b := &begun{x: &box{send: newNonce(clientNonce), got: newNonce(serverNonce)}}
	var err error
	if b.pair, err = newKeyPair(); err != nil {
		t.Fatal(err)
	}
	client.sendHello(b.pair, k, b.x)
	data, err := client.expect(welcome)
	if err != nil {
		return nil
	}
	if b.server, b.cookie, err = openWelcome(data, b.pair, k); err != nil {
		t.Fatal(err)
	}
	if b.x.key, err = precompute(b.server, b.pair.secret); err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzCurveServer is a client with the right keys: HELLO and INITIATE have a changed byte, or any
// metadata in the box.
func FuzzCurveServer(f *testing.F) {
	addCurveSeeds(f, Push)
	f.Fuzz(func(t *testing.T, metadata []byte, at int) {
		if len(metadata) > 1700 {
			return // more than a handshake may have
		}
		serverKeys, clientKeys := fuzzKeys(t)
		client, server, end := sides(at, Push, Pull)
		defer end()
		done := make(chan error, 1)
		go func() { // ends with the handshake
			_, err := server.curveServer(serverKeys)
			done <- err
			end()
		}()
		sent := 2 + 6 + helloSize
		if b := beginCurve(t, client, clientKeys); b != nil {
			client.sendInitiate(b.server, b.cookie, b.pair, clientKeys, b.x, metadata)
			size := 9 + initiateHead + boxed + keySize + vouchSize + len(metadata)
			sent += len(appendHeader(nil, 0, size)) + size
			if at >= 0 && at < sent {
				end() // a changed length would make the server wait for more
			} else {
				client.expect(ready)
			}
		}
		checkCurve(t, <-done, server.peer, Pull, metadata, at, sent)
	})
}

// FuzzCurveClient is a server with the right keys: WELCOME and READY have a changed byte, or any
// metadata in the box.
func FuzzCurveClient(f *testing.F) {
	addCurveSeeds(f, Pull)
	f.Fuzz(func(t *testing.T, metadata []byte, at int) {
		if len(metadata) > 1700 {
			return // more than a handshake may have
		}
		serverKeys, clientKeys := fuzzKeys(t)
		server, client, end := sides(at, Pull, Push)
		defer end()
		done := make(chan error, 1)
		go func() { // ends with the handshake
			_, err := client.curveClient(clientKeys)
			done <- err
			end()
		}()
		sent := 2 + 8 + welcomeSize
		x := &box{send: newNonce(serverNonce), got: newNonce(clientNonce)}
		var cookieKey [32]byte
		data, err := server.expect(hello)
		if err != nil {
			t.Fatal(err)
		}
		key, err := openHello(data, serverKeys, x)
		if err != nil {
			t.Fatal(err)
		}
		if server.sendWelcome(key, serverKeys, &cookieKey); at >= 0 && at < sent {
			end()
		} else if data, err := server.expect(initiate); err != nil {
			t.Fatal(err)
		} else if _, err := server.openInitiate(data, serverKeys, &cookieKey, x); err != nil {
			t.Fatal(err)
		} else {
			server.sendReady(x, metadata)
			size := 6 + numSize + boxed + len(metadata)
			sent += len(appendHeader(nil, 0, size)) + size
			if at >= 0 && at < sent {
				end()
			}
		}
		checkCurve(t, <-done, client.peer, Push, metadata, at, sent)
	})
}
