package zmtp

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

const fuzzLimit = 1000 // bytes of a message

// checkHeld fails if a connection holds more memory than it may.
func checkHeld(t *testing.T, b *buffer, most int) {
	t.Helper()
	if n := len(b.buf) + len(b.own); n > most {
		t.Fatalf("it holds %d bytes", n)
	}
}

// checkEnd fails unless err is one that a peer can cause.
func checkEnd(t *testing.T, err error) {
	t.Helper()
	if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.As(err, new(*Error)) {
		t.Fatalf("%T: %v", err, err)
	}
}

// FuzzGreeting sends anything as a greeting and what follows.
func FuzzGreeting(f *testing.F) {
	f.Add(greeted(Push), 0)
	f.Add([]byte("\x01\x00"), 1)
	f.Add([]byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x08\x00\x00"), 3)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 0)
	f.Fuzz(func(t *testing.T, sent []byte, few int) {
		for _, server := range []bool{false, true} {
			o := &Options{Type: Pull, Security: Security{Server: server}}
			s := &script{in: sent, few: max(few, 0)}
			c, err := Handshake(context.Background(), s, o)
			if err != nil {
				checkEnd(t, err)
				continue
			}
			if c.Peer().Type != Push {
				t.Fatalf("a peer of type %s was taken", c.Peer().Type)
			}
		}
	})
}

// FuzzHandshake sends anything behind a right greeting, to each mechanism and role.
func FuzzHandshake(f *testing.F) {
	secret := SecretKey{1, 2, 3}
	clientGreeting := func(s Security) []byte { s.Server = !s.Server; return appendGreeting(nil, &s, minor) }
	roles := []Security{
		{}, {Server: true},
		{Plain: &Plain{"u", "p"}}, {Server: true, Plain: &Plain{"u", "p"}},
		{Curve: &Curve{Secret: secret, ServerKey: Key{9}}}, {Server: true, Curve: &Curve{Secret: secret}},
	}
	metadata := appendMetadata(nil, &Options{Type: Push})
	f.Add(appendCommand(nil, ready, metadata), 0)
	f.Add(appendCommand(nil, ready, metadata, appendProperty(nil, "X-Name", "value")), 1)
	f.Add(appendCommand(appendCommand(nil, welcome), ready, metadata), 0)
	f.Add(appendCommand(appendCommand(nil, hello, []byte("\x01u\x01p")), initiate, metadata), 0)
	f.Add(appendCommand(nil, hello, append([]byte{1, 0}, make([]byte, helloSize-2)...)), 0)
	f.Add(appendCommand(nil, welcome, make([]byte, welcomeSize)), 0)
	f.Add(appendCommand(nil, failing, []byte("\x03400")), 0)
	f.Add([]byte("\x04\x09"+libzmqFailing+"\x03400"), 0)
	f.Fuzz(func(t *testing.T, sent []byte, few int) {
		for _, role := range roles {
			s := &script{in: append(clientGreeting(role), sent...), few: max(few, 0)}
			h := &handshake{nc: s, o: &Options{Type: Pull, Security: role}, in: newBuffer(s, nil)}
			_, err := h.run(minor)
			checkHeld(t, h.in, idleBuffer)
			if err != nil {
				checkEnd(t, err)
			} else if h.peer.Type != Push {
				t.Fatalf("a peer of type %s was taken", h.peer.Type)
			}
		}
	})
}

// FuzzMetadata parses any metadata, and what it writes itself.
func FuzzMetadata(f *testing.F) {
	f.Add(appendMetadata(nil, &Options{Type: Dealer, Identity: "me"}))
	f.Add(appendProperty(nil, "socket-TYPE", ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		var peer Peer
		if err := parseMetadata(b, &peer); err != nil {
			checkEnd(t, err)
			return
		}
		var again Peer
		written := appendProperty(appendProperty(nil, propertyType, string(peer.Type)), propertyIdentity, peer.Identity)
		if err := parseMetadata(written, &again); err != nil || again != peer {
			t.Fatalf("%+v; %+v, %v", peer, again, err)
		}
	})
}

// outcome is what a stream of frames means: the messages that are taken, those that are skipped,
// and whether the connection ends by a fault of the peer.
type outcome struct {
	messages []string
	skipped  int64
	fault    bool
}

// reference reads frames as RFC 37 describes them, in the simplest way.
func reference(b []byte) (o outcome) {
	var frames []string
	total, aside, tooLarge := 0, 0, false
	for {
		if len(b) < 2 {
			return o
		}
		flags, size, head := b[0], uint64(b[1]), 2
		if flags > 7 || flags&5 == 5 {
			o.fault = true
			return o
		}
		if flags&2 != 0 {
			if len(b) < 9 {
				return o
			}
			size, head = binary.BigEndian.Uint64(b[1:]), 9
		}
		command := flags&4 != 0
		if size >= 1<<63 || command && (size > maxCommand || aside > fuzzLimit+maxAside) || !command && size > maxSkip {
			o.fault = true
			return o
		}
		large := !command && (tooLarge || size > uint64(fuzzLimit-total) || len(frames) >= maxFrames || aside > fuzzLimit+maxAside)
		if large && !tooLarge {
			tooLarge, frames, total, aside = true, nil, 0, 0
		}
		if uint64(len(b)-head) < size {
			return o
		}
		body := b[head : head+int(size)]
		b = b[head+int(size):]
		switch {
		case command:
			if !understood(body) {
				o.fault = true
				return o
			}
			if len(frames) > 0 {
				aside += head + len(body)
			}
			continue
		case !tooLarge:
			frames = append(frames, string(body))
			total += len(body)
			aside += head + len(body)
		}
		if flags&1 != 0 {
			continue
		}
		if tooLarge {
			o.skipped++
		} else {
			o.messages = append(o.messages, strings.Join(frames, "|"))
		}
		frames, total, aside, tooLarge = nil, 0, 0, false
	}
}

// understood reports whether a command does not end the connection.
func understood(body []byte) bool {
	if len(body) == 0 || body[0] == 0 || int(body[0]) > len(body)-1 {
		return false
	}
	switch name, data := string(body[:1+body[0]]), body[1+body[0]:]; name {
	case ping:
		return len(data) >= 2 && len(data) <= 18
	case failing:
		return false
	}
	return true
}

// drain receives all that a peer sends.
func drain(t *testing.T, c *Conn) (o outcome) {
	for {
		frames, err := c.Receive()
		checkHeld(t, c.in, maxBuffer+4*(fuzzLimit+maxAside))
		if err != nil {
			checkEnd(t, err)
			o.skipped = c.counts.Skipped.Load()
			o.fault = errors.As(err, new(*Error))
			return o
		}
		var message []string
		for _, f := range frames {
			message = append(message, string(f))
		}
		o.messages = append(o.messages, strings.Join(message, "|"))
	}
}

func checkOutcome(t *testing.T, got, want outcome) {
	t.Helper()
	if !slices.Equal(got.messages, want.messages) || got.skipped != want.skipped || got.fault != want.fault {
		t.Fatalf("%+v\nwant %+v", got, want)
	}
}

// FuzzFrames reads any bytes as frames and compares with the reference.
func FuzzFrames(f *testing.F) {
	f.Add(AppendMessage(nil, []byte("a"), make([]byte, 300)), 0)
	f.Add(append(AppendMessage(nil, make([]byte, fuzzLimit+1)), AppendMessage(nil, []byte("b"))...), 5)
	f.Add([]byte(long(0, 1<<63)), 1)
	f.Add([]byte(long(1, 1<<40)+"x"), 0)
	f.Add(appendCommand(AppendMessage(nil, nil, nil)[:2], ping, []byte("\x00\x01ctx")), 0)
	f.Add(appendCommand(nil, failing, []byte("\x03400")), 2)
	f.Add([]byte(strings.Repeat("\x01\x00", maxFrames+2)+"\x00\x00"), 0)
	f.Fuzz(func(t *testing.T, sent []byte, few int) {
		counts := new(Counts)
		c := served(&script{in: slices.Clone(sent), few: max(few, 0)}, &Options{Type: Pull, MaxMessage: fuzzLimit, Counts: counts}, nil)
		got := drain(t, c)
		checkOutcome(t, got, reference(sent))
	})
}

// FuzzSubscriptions reads any bytes as what a subscriber sends.
func FuzzSubscriptions(f *testing.F) {
	f.Add(appendCommand(appendCommand(nil, subscribing, []byte("topic")), canceling), 0)
	f.Add(AppendMessage(AppendMessage(nil, []byte("\x01topic")), []byte("\x00")), 1)
	f.Add(AppendMessage(nil, make([]byte, maxCommand+1)), 0)
	f.Fuzz(func(t *testing.T, sent []byte, few int) {
		c := served(&script{in: sent, few: max(few, 0)}, &Options{Type: Pub}, nil)
		for {
			topic, _, err := c.Subscription()
			if err != nil {
				checkEnd(t, err)
				return
			}
			if len(topic) > maxCommand {
				t.Fatalf("a topic of %d bytes", len(topic))
			}
			checkHeld(t, c.in, 5*maxBuffer)
		}
	})
}

// FuzzBoxes seals frames, changes one byte of the stream or none, and compares what arrives with
// the same frames in clear text.
func FuzzBoxes(f *testing.F) {
	f.Add(AppendMessage(nil, []byte("a"), make([]byte, 300)), 0, -1)
	f.Add(append(AppendMessage(nil, make([]byte, 5*fuzzLimit)), AppendMessage(nil, []byte("b"))...), 5, -1)
	f.Add(appendCommand(AppendMessage(nil, nil, nil)[:2], ping, []byte("\x00\x01ctx")), 0, 20)
	f.Fuzz(func(t *testing.T, clear []byte, few, at int) {
		x := &box{send: newNonce(clientNonce)}
		var sealed, whole []byte
		for {
			h, ok, err := parseHeader(clear)
			if !ok || err != nil || int64(len(clear)-h.length) < h.size {
				break
			}
			end := h.length + int(h.size)
			sealed = x.appendFrame(sealed, h.flags&^flagLong, clear[h.length:end])
			whole = append(whole, clear[:end]...)
			clear = clear[end:]
		}
		want := reference(whole)
		if at >= 0 && at < len(sealed) {
			sealed[at] ^= 0x55
		}
		o := &Options{Type: Pull, MaxMessage: fuzzLimit, Counts: new(Counts)}
		got := drain(t, served(&script{in: sealed, few: max(few, 0)}, o, &box{got: newNonce(clientNonce)}))
		if at < 0 || at >= len(sealed) {
			checkOutcome(t, got, want)
			return
		}
		for i, m := range got.messages {
			if i >= len(want.messages) || m != want.messages[i] {
				return // a message was skipped whose flags cannot be authenticated
			}
		}
	})
}
