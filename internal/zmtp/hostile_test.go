package zmtp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
)

// greeted is what a NULL peer of type t sends until its handshake is complete.
func greeted(t SocketType) []byte {
	return append(appendGreeting(nil, &Security{}, minor), appendCommand(nil, ready, appendMetadata(nil, &Options{Type: t}))...)
}

// A handshake that cannot succeed ends with its reason and what to do.
func TestBadHandshake(t *testing.T) {
	g := string(appendGreeting(nil, &Security{}, minor))
	serverSecret, _ := newSecret(t)
	curve := Security{Server: true, Curve: &Curve{Secret: serverSecret}}
	curveGreeting := string(appendGreeting(nil, &Security{Curve: curve.Curve}, minor))
	plain := Security{Server: true, Plain: &Plain{"u", "p"}}
	plainGreeting := string(appendGreeting(nil, &Security{Plain: plain.Plain}, minor))
	command := func(parts ...string) string {
		return string(appendCommand(nil, strings.Join(parts, "")))
	}
	metadata := func(b []byte) string { return string(b) }
	for _, test := range []struct {
		name   string
		sent   string
		ours   Security
		reason Reason
		text   string
	}{
		{"nothing", "", Security{}, Ended, "closed the connection during the handshake"},
		{"a signature alone", g[:signatureSize], Security{}, Ended, "another mechanism than NULL"},
		{"a signature alone, to a server", g[:signatureSize], plain, Ended, "both sides may be servers"},
		{"http", "GET / HTTP/1.1\r\n", Security{}, NotZMTP, "it seems to speak HTTP"},
		{"tls", "\x16\x03\x01\x00", Security{}, NotZMTP, "TLS"},
		{"garbage", "\x00\x01\x02garbage", Security{}, NotZMTP, `"\x00\x01\x02garbage"`},
		{"signature", "\xff12345678\x01", Security{}, NotZMTP, "does not speak ZMTP"},
		{"version 1", "\x01\x00", Security{}, OldVersion, "libzmq 4"},
		{"version 1 identity", "\xff\x00\x00\x00\x00\x00\x00\x00\x05\x00", Security{}, OldVersion, "ZMTP 1"},
		{"version 2", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x08\x00\x00", Security{}, OldVersion, "ZMTP 2"},
		{"mechanism", curveGreeting, Security{}, OtherSecurity, `"CURVE", and this socket NULL`},
		{"two servers", string(appendGreeting(nil, &plain, minor)), plain, OtherSecurity, "must be the client"},
		{"two clients", plainGreeting + command(hello, "\x01u\x01p"), Security{Plain: plain.Plain}, OtherSecurity, "must be the server"},
		{"message", g + "\x00\x05hello", Security{}, Malformed, "before the handshake was complete"},
		{"flags", g + "\x10\x05hello", Security{}, Malformed, "0x10"},
		{"command with more", g + "\x05\x05hello", Security{}, Malformed, "0x05"},
		{"2^63", g + "\x06\x80\x00\x00\x00\x00\x00\x00\x00", Security{}, Malformed, "9223372036854775808"},
		{"large", g + "\x06\x00\x00\x00\x00\x00\x01\x00\x00", Security{}, Oversized, "65536"},
		{"empty command", g + "\x04\x00", Security{}, Malformed, "without a name"},
		{"short name", g + "\x04\x02\x05R", Security{}, Malformed, "without a name"},
		{"other command", g + command("\x05HELLO"), Security{}, Malformed, `"HELLO" in the handshake where READY`},
		{"error", g + command(failing, "\x04busy"), Security{}, Refused, `"busy"`},
		{"short error", g + command(failing, "\x04bus"), Security{}, Malformed, "without a reason"},
		{"no type", g + command(ready), Security{}, OtherType, "did not tell"},
		{"property", g + command(ready, "\x0bSocket-Type\x00\x00\x01\x00PUSH"), Security{}, Malformed, `"Socket-Type" of 256 bytes`},
		{"property without a name", g + command(ready, "\x00\x00\x00\x00\x00"), Security{}, Malformed, "without a name"},
		{"identity", g + command(ready, metadata(appendProperty(nil, propertyIdentity, strings.Repeat("i", 256)))), Security{}, Malformed, "256"},
		{"plain hello", plainGreeting + command(hello, "\x05u\x01p"), plain, Malformed, "HELLO"},
		{"plain hello and more", plainGreeting + command(hello, "\x01u\x01pp"), plain, Malformed, "HELLO"},
		{"plain user", plainGreeting + command(hello, "\x01v\x01p"), plain, Credentials, `"v"`},
		{"plain password", plainGreeting + command(hello, "\x01u\x01q"), plain, Credentials, `"u"`},
		{"curve hello", curveGreeting + command(hello, "\x01\x00"), curve, Malformed, "HELLO"},
		{"curve hello of another server", curveGreeting + command(hello, "\x01\x00", strings.Repeat("\x09", helloSize-2)), curve, Credentials, "public key is"},
		{"curve hello with a weak key", curveGreeting + command(hello, "\x01\x00", strings.Repeat("\x00", helloSize-3), "\x01"), curve, Replayed, "nonce 0"},
	} {
		for _, few := range []int{0, 1} {
			s := &script{in: []byte(test.sent), few: few}
			_, err := Handshake(context.Background(), s, &Options{Type: Pull, Security: test.ours})
			var e *Error
			told := few == 1 && test.reason == NotZMTP || err != nil && strings.Contains(err.Error(), test.text)
			if !errors.As(err, &e) || e.Reason != test.reason || !told {
				t.Errorf("%s: %v; want reason %s and %q", test.name, err, test.reason, test.text)
			}
		}
	}
}

// A peer that says nothing is left after the timeout, and at once when the context ends.
func TestHandshakeTimeout(t *testing.T) {
	_, b := link(t)
	_, err := Handshake(context.Background(), b, &Options{Type: Pull, HandshakeTimeout: 20 * time.Millisecond})
	wantReason(t, err, TimedOut)
	if err == nil || err.Error() != "the peer did not complete the handshake within 20ms" {
		t.Error(err)
	}
	_, b = link(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Handshake(ctx, b, &Options{Type: Pull}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("the connection is open after a failed handshake")
	}
}

// long is the header of a long frame.
func long(flags byte, size uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{flags | flagLong}, size))
}

// What breaks the protocol after the handshake ends the connection, and holds nothing.
func TestBadFrames(t *testing.T) {
	for _, test := range []struct {
		name   string
		sent   string
		reason Reason
	}{
		{"2^63", long(0, 1<<63), Malformed},
		{"2^64-1", long(flagMore, 1<<64-1), Malformed},
		{"2^62, which is never skipped", long(0, 1<<62), Oversized},
		{"flags", "\x08\x00", Malformed},
		{"large command", long(flagCommand, maxCommand+1), Oversized},
		{"empty command", "\x04\x00", Malformed},
		{"short ping", string(appendCommand(nil, ping, []byte{0})), Malformed},
		{"long ping", string(appendCommand(nil, ping, make([]byte, 2+maxContext+1))), Malformed},
		{"error", string(appendCommand(nil, failing, []byte("\x03400"))), Credentials},
		{"pings within a message", "\x01\x00" + strings.Repeat(string(appendCommand(nil, pong)), 200000), Oversized},
	} {
		s := &script{in: []byte(test.sent)}
		c := served(s, &Options{Type: Pull}, nil)
		_, err := c.Receive()
		var e *Error
		if !errors.As(err, &e) || e.Reason != test.reason {
			t.Errorf("%s: %v; want reason %s", test.name, err, test.reason)
		}
		if _, again := c.Receive(); again != err {
			t.Errorf("%s: and then %v", test.name, again)
		}
	}
}

// A subscription may have 4 KiB, in either form.
func TestLongTopic(t *testing.T) {
	topic := bytes.Repeat([]byte("t"), 1<<20)
	for name, sent := range map[string][]byte{
		"3.1": appendCommand(nil, subscribing, topic),
		"3.0": AppendMessage(nil, append([]byte{1}, topic...)),
	} {
		c := served(&script{in: sent}, &Options{Type: Pub}, nil)
		_, _, err := c.Subscription()
		var e *Error
		if !errors.As(err, &e) || e.Reason != Oversized {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A box that is repeated, or changed, or of another connection, is refused.
func TestReplay(t *testing.T) {
	key := [32]byte{1}
	seal := func(prefix string, bodies ...string) (frames [][]byte) {
		x := &box{send: newNonce(prefix), key: key}
		for _, b := range bodies {
			frames = append(frames, x.appendFrame(nil, 0, []byte(b)))
		}
		return frames
	}
	ours := seal(clientNonce, "one", "two", "three")
	changed := bytes.Clone(ours[1])
	changed[len(changed)-1] ^= 1
	clear := bytes.Clone(ours[1])
	clear[3] ^= 1
	for _, test := range []struct {
		name   string
		frames [][]byte
		whole  int
		reason Reason
	}{
		{"all", ours, 3, ""},
		{"a gap", [][]byte{ours[0], ours[2]}, 2, ""},
		{"repeated", [][]byte{ours[0], ours[1], ours[1]}, 2, Replayed},
		{"order", [][]byte{ours[1], ours[0]}, 1, Replayed},
		{"changed", [][]byte{ours[0], changed}, 1, Malformed},
		{"name", [][]byte{ours[0], clear}, 1, Malformed},
		{"reflected", seal(serverNonce, "one"), 0, Malformed},
		{"in clear text", [][]byte{ours[0], AppendMessage(nil, []byte("two"))}, 1, Malformed},
		{"2^63", [][]byte{[]byte(long(0, 1<<63))}, 0, Malformed},
	} {
		c := served(&script{in: bytes.Join(test.frames, nil)}, &Options{Type: Pull}, &box{got: newNonce(clientNonce), key: key})
		n := 0
		for {
			_, err := c.Receive()
			if err == nil {
				n++
				continue
			}
			if err != io.EOF || test.reason != "" {
				wantReason(t, err, test.reason)
			}
			break
		}
		if n != test.whole {
			t.Errorf("%s: %d messages; want %d", test.name, n, test.whole)
		}
	}
}

// The INITIATE of one connection is of no use in another one.
func TestReplayInitiate(t *testing.T) {
	ms := mechanisms(t)
	client, server := ms[2].client, ms[2].server
	record := new(recorder)
	na, nb := link(t)
	record.Conn = na
	go Handshake(context.Background(), record, &Options{Type: Push, Security: client}) // ends with the other side's
	if _, err := Handshake(context.Background(), nb, &Options{Type: Pull, Security: server}); err != nil {
		t.Fatal(err)
	}
	sent := record.written()
	_, err := Handshake(context.Background(), &script{in: sent}, &Options{Type: Pull, Security: server})
	wantReason(t, err, Replayed)
}

// Memory: what a peer announces is not allocated, and what a connection holds is bounded.
func TestMemoryBounds(t *testing.T) {
	a, b := link(t)
	a.Write(greeted(Push))
	c, err := Handshake(context.Background(), b, &Options{Type: Pull, MaxMessage: 100 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	a.Write([]byte(long(0, 100<<20) + strings.Repeat("x", 40000)))
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		c.Receive()
	}()
	waittest.Until(t, "the reader", func() bool { return c.in.waits.Load() != 0 && unread(b) == 0 })
	a.Close()
	<-done
	if n := len(c.in.buf) + len(c.in.own); n > 4*maxBuffer+maxBuffer {
		t.Errorf("a message of 100 MiB of which 40 KB arrived holds %d bytes", n)
	}
}
