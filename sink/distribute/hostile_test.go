package distribute

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// fault returns why the collector ends the connection.
func (c *raw) fault() string {
	c.t.Helper()
	for {
		f, err := c.r.Frame()
		if err != nil {
			c.t.Fatalf("waiting for the reason: %v", err)
		}
		if f.Kind == protocol.KindFault {
			if _, err := c.r.Frame(); err == nil {
				c.t.Error("the connection goes on")
			}
			return f.Reason
		}
	}
}

// TestHostileWorkers: each receives the reason why it is disconnected, causes no loss, and
// another worker does its work.
func TestHostileWorkers(t *testing.T) {
	b := openNew(t, Settings{HandshakeTimeout: 500 * time.Millisecond})
	b.putMany(0, 100)
	greet := protocol.Hello{Group: "g", From: "start", Credit: 10}
	say := func(f protocol.Frame) func(*raw) { return func(c *raw) { c.hear(protocol.KindLines); c.say(f) } }
	for name, c := range map[string]struct {
		hello protocol.Hello
		do    func(c *raw)
		want  string
	}{
		"acks what it never got":  {greet, say(protocol.Frame{Kind: protocol.KindAck, N: 1 << 60, To: -1}), "never sent"},
		"acks delivery 0":         {greet, say(protocol.Frame{Kind: protocol.KindAck, N: 0, To: -1}), "never sent"},
		"acks too many lines":     {greet, say(protocol.Frame{Kind: protocol.KindAck, N: 1, From: 0, To: 11}), "which has 10"},
		"acks lines backwards":    {greet, say(protocol.Frame{Kind: protocol.KindAck, N: 1, From: 5, To: 2}), "lines 5 to 2"},
		"credit below nothing":    {greet, say(protocol.Frame{Kind: protocol.KindCredit, Credit: -1}), "credit of -1"},
		"credit without end":      {greet, say(protocol.Frame{Kind: protocol.KindCredit, Credit: math.MaxInt64}), "credit of 9223372036854775807"},
		"speaks as the collector": {greet, say(protocol.Frame{Kind: protocol.KindDrain}), "not a frame of a worker"},
		"garbage":                 {greet, func(c *raw) { c.nc.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }, "not a frame of the protocol"},
		"2^63 credits in a frame": {greet, func(c *raw) {
			c.nc.Write(msgp.AppendUint64(msgp.AppendString(msgp.AppendArrayHeader(nil, 2), "credit"), 1<<63))
		}, "not a frame of the protocol"},
		"a string of 4 GiB": {greet, func(c *raw) { c.nc.Write(binary.BigEndian.AppendUint32([]byte{0x92, 0xdb}, math.MaxUint32)) }, "a string of 4294967295 bytes"},
		"no group":          {protocol.Hello{}, func(*raw) {}, "want 1 to 64 letters"},
		"a path as group":   {protocol.Hello{Group: "../x"}, func(*raw) {}, "want 1 to 64 letters"},
		"too much credit":   {protocol.Hello{Group: "g", Credit: 1 << 30}, func(*raw) {}, "credit of 1073741824"},
		"an unknown key":    {protocol.Hello{Group: "g", Key: "line"}, func(*raw) {}, "want host, source, host+source or log"},
		"a bad expression":  {protocol.Hello{Group: "new", Include: []string{"("}}, func(*raw) {}, "RE2"},
		"a huge expression": {protocol.Hello{Group: "new", Include: []string{"((a{100}){100}){100}"}}, func(*raw) {}, "RE2"},
		"nowhere":           {protocol.Hello{Group: "other", From: "yesterday"}, func(*raw) {}, "not a position in a log"},
		"never":             {protocol.Hello{Group: "other", From: "77:0"}, func(*raw) {}, "no such position"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := b.raw(c.hello)
			conn.t = t
			c.do(conn)
			if why := conn.fault(); !strings.Contains(why, c.want) {
				t.Errorf("it is told %q, want %q", why, c.want)
			}
		})
	}
	for name, text := range map[string]string{
		"HTTP": "GET / HTTP/1.1\r\n\r\n", "a plain line": "hello\n", "half a greeting": "\x93\xaafanin-work", "nothing": "",
		"another version": "\x93\xaafanin-work\x02\x80", "an agent": "\x97\xa5fanin",
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.Write([]byte(text))
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			answer, err := io.ReadAll(nc)
			if err != nil || !strings.Contains(string(answer), "fault") {
				t.Errorf("answered %q, %v", answer, err)
			}
		})
	}
	groups, err := b.dist.Groups(context.Background())
	if err != nil || len(groups) != 1 {
		t.Errorf("those who were refused left groups behind: %+v, %v", groups, err)
	}
	var l tally
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error { l.note(b, d); return nil }})
	b.done("g")
	expect(t, l.lines(), 100)
}

// TestTLS: with TLS configured, workers connect over TLS, and in no other way.
func TestTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	b := openNew(t, Settings{TLS: &tls.Config{Certificates: certified.TLS.Certificates}, HandshakeTimeout: 500 * time.Millisecond})
	b.putMany(0, 100)
	var l tally
	client := certified.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com"
	b.work(&worker.Worker{TLS: client, Options: protocol.Hello{Group: "g", From: "start"}, Handle: func(_ context.Context, d *worker.Delivery) error { l.note(b, d); return nil }})
	b.done("g")
	expect(t, l.lines(), 100)
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write(protocol.AppendHello(nil, &protocol.Hello{Group: "plain", From: "start"}))
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	io.ReadAll(nc)
	if b.group("plain").Group != "" {
		t.Error("a worker without TLS made a group")
	}
}

// TestTerms: workers of one group must have the same terms.
func TestTerms(t *testing.T) {
	b := openNew(t, Settings{MaxGroups: 2})
	c := b.raw(protocol.Hello{Group: "g", Key: "host"})
	c.hear(protocol.KindWelcome)
	if why := b.raw(protocol.Hello{Group: "g", Key: "source"}).fault(); !strings.Contains(why, "same key and filter") {
		t.Errorf("another key: %s", why)
	}
	if why := b.raw(protocol.Hello{Group: "g", Key: "host", Include: []string{"x"}}).fault(); !strings.Contains(why, "same key and filter") {
		t.Errorf("another filter: %s", why)
	}
	c.nc.Close()
	b.wait("it to leave", func() bool { return len(b.dist.Workers()) == 0 })
	b.raw(protocol.Hello{Group: "g", Key: "source"}).hear(protocol.KindWelcome)
	b.raw(protocol.Hello{Group: "h"}).hear(protocol.KindWelcome)
	if why := b.raw(protocol.Hello{Group: "i"}).fault(); !strings.Contains(why, "max_groups") {
		t.Errorf("a group too many: %s", why)
	}
}

// TestManyWorkers: a worker beyond the bound receives the reason, and the others continue.
func TestManyWorkers(t *testing.T) {
	b := openNew(t, Settings{MaxWorkers: 5})
	var l tally
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error { l.note(b, d); return nil }})
	b.wait("the worker", func() bool { return len(b.dist.Workers()) == 1 })
	turned := 0
	for range 200 {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		if turned == 0 && len(b.dist.Workers()) == 1 {
			fmt.Fprint(nc, "") // the first few are silent and keep their places
		}
	}
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	if answer, err := io.ReadAll(nc); err != nil || !strings.Contains(string(answer), "max_workers") {
		t.Errorf("one too many hears %q, %v", answer, err)
	}
	b.putMany(0, 1000)
	b.done("g")
	expect(t, l.lines(), 1000)
}
