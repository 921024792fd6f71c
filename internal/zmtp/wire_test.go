package zmtp

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
)

// These are the bytes that libzmq 4.3.4 sends, captured, and those of this side, pinned.
const (
	libzmqGreeting = "ff00000000000000017f" + "0301" + "4e554c4c00000000000000000000000000000000" + "00" + zeros31
	ourGreeting    = "ff00000000000000007f" + "0301" + "4e554c4c00000000000000000000000000000000" + "00" + zeros31
	zeros31        = "00000000000000000000000000000000000000000000000000000000000000"
	readyType      = "0552454144590b536f636b65742d54797065000000" // 5 READY 11 Socket-Type, 3 bytes of the length
)

var wires = []struct {
	name string
	ours Options
	sent string // by libzmq
	want string // what it means
	out  string // what this side sends
}{
	{
		"PUSH", Options{Type: Pull},
		libzmqGreeting + "041a" + readyType + "0450555348" +
			"000568656c6c6f" + "010161" + "020000000000000100" + strings.Repeat("62", 256) + "0000",
		"message hello, message a " + strings.Repeat("b", 256) + ", message ",
		ourGreeting + "041a" + readyType + "0450554c4c",
	},
	{
		"SUB 3.1", Options{Type: Pub},
		libzmqGreeting + "0419" + readyType + "03535542" +
			"040f09535542534352494245746f706963" + "040a09535542534352494245" + "040c0643414e43454c746f706963",
		"subscribe topic, subscribe , cancel topic",
		ourGreeting + "0419" + readyType + "03505542",
	},
	{
		"SUB 3.0", Options{Type: Pub},
		libzmqGreeting + "0419" + readyType + "03535542" + "000601746f706963" + "000600746f706963",
		"subscribe topic, cancel topic",
		ourGreeting + "0419" + readyType + "03505542",
	},
	{
		"PING", Options{Type: Pull},
		libzmqGreeting + "041a" + readyType + "0450555348" + "04070450494e47000f" + "04090450494e4700006162" + "000178",
		"message x",
		ourGreeting + "041a" + readyType + "0450554c4c" + "040504504f4e47" + "040704504f4e476162",
	},
	{
		"REQ", Options{Type: Rep},
		libzmqGreeting + "0426" + readyType + "03524551" + "084964656e7469747900000000" + "0100" + "0006737461747573",
		"message  status",
		ourGreeting + "0419" + readyType + "03524550",
	},
	{
		"DEALER", Options{Type: Rep},
		"ff00000000000000037f" + libzmqGreeting[20:] + "042b" + readyType + "064445414c4552" + "084964656e74697479000000026d65" + "000178",
		"message x",
		ourGreeting + "0419" + readyType + "03524550",
	},
}

func TestWire(t *testing.T) {
	for _, w := range wires {
		for _, few := range []int{0, 1, 7} {
			t.Run(fmt.Sprintf("%s/%d", w.name, few), func(t *testing.T) {
				in, err := hex.DecodeString(w.sent)
				if err != nil {
					t.Fatal(err)
				}
				s := &script{in: in, few: few}
				c, err := Handshake(context.Background(), s, &w.ours)
				if err != nil {
					t.Fatal(err)
				}
				if got := meaning(t, c); got != w.want {
					t.Errorf("it means %q; want %q", got, w.want)
				}
				c.out.mu.Lock() // when the answers to PINGs are written
				defer c.out.mu.Unlock()
				if got := hex.EncodeToString(s.out.Bytes()); got != w.out {
					t.Errorf("sent\n%s; want\n%s", got, w.out)
				}
			})
		}
	}
}

// meaning returns what a peer sends, in words.
func meaning(t *testing.T, c *Conn) string {
	var all []string
	for {
		var err error
		var word, what string
		if c.limit == maxCommand {
			topic, add, e := c.Subscription()
			if word, err = "cancel", e; add {
				word = "subscribe"
			}
			what = string(topic)
		} else {
			frames, e := c.Receive()
			word, err = "message", e
			for i, f := range frames {
				if i > 0 {
					what += " "
				}
				what += string(f)
			}
		}
		if err == io.EOF {
			return strings.Join(all, ", ")
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, word+" "+what)
	}
}

// What this side sends after the handshake.
func TestWireSend(t *testing.T) {
	for _, w := range []struct {
		name  string
		minor byte
		do    func(c *Conn)
		want  string
	}{
		{"message", 1, func(c *Conn) { c.Send([]byte("a")); c.Send(nil, []byte("b"), make([]byte, 256)); c.Flush() },
			"000161" + "0100" + "010162" + "020000000000000100" + strings.Repeat("00", 256)},
		{"subscribe 3.1", 1, func(c *Conn) { c.Subscribe("topic"); c.Cancel("") },
			"040f09535542534352494245746f706963" + "04070643414e43454c"},
		{"subscribe 3.0", 0, func(c *Conn) { c.Subscribe("topic"); c.Cancel("") }, "000601746f706963" + "000100"},
		{"ping", 1, func(c *Conn) { c.ping([]byte{0, 15}) }, "04070450494e47000f"},
	} {
		s := new(script)
		c := served(s, &Options{Type: Sub}, nil)
		c.peer.Minor = w.minor
		w.do(c)
		if got := hex.EncodeToString(s.out.Bytes()); got != w.want {
			t.Errorf("%s: sent\n%s; want\n%s", w.name, got, w.want)
		}
	}
}

// The greetings of the other mechanisms, and boxes with a known key.
func TestWireSecurity(t *testing.T) {
	for name, s := range map[string]Security{
		"504c41494e" + strings.Repeat("00", 15) + "00": {Plain: &Plain{}},
		"4355525645" + strings.Repeat("00", 15) + "01": {Server: true, Curve: &Curve{}},
	} {
		want := "ff00000000000000007f0301" + name + zeros31
		if got := hex.EncodeToString(appendGreeting(nil, &s, minor)); got != want {
			t.Errorf("greeting\n%s; want\n%s", got, want)
		}
	}
	x := &box{send: newNonce(clientNonce)}
	copy(x.key[:], "0123456789abcdef0123456789abcdef")
	b := x.appendFrame(nil, flagMore, []byte("hello"))
	b = x.appendFrame(b, flagCommand, []byte(ping+"\x00\x00"))
	// libsodium's crypto_box_easy_afternm gives the same.
	const want = "0026" + "074d455353414745" + "0000000000000001" + "cddb821b03ee4c1ab35d32093e943f76" + "cb3697819002" +
		"0028" + "074d455353414745" + "0000000000000002" + "1ed82f4662898081a1ca7d8776ed142c" + "650faab93a98dcf5"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("boxes\n%s; want\n%s", got, want)
	}
}
