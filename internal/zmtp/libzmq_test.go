package zmtp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// python is Debian's, which has libzmq's binding.
const python = "/usr/bin/python3"

// orders are what testdata/peer.py does.
type orders struct {
	Type      string            `json:"type"`
	Connect   int               `json:"connect,omitempty"`
	Options   map[string]any    `json:"options,omitempty"`
	Plain     map[string]string `json:"plain,omitempty"`
	Clients   string            `json:"clients,omitempty"`
	Subscribe []string          `json:"subscribe,omitempty"`
	Steps     [][]string        `json:"steps"`
}

// foreign is a libzmq socket in a process of its own.
type foreign struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// startForeign starts a libzmq socket and returns its first line: its port if it binds.
func startForeign(t *testing.T, o orders) (f *foreign, port int) {
	t.Helper()
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		t.Skip("needs python3-zmq of Debian: make setup installs it")
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(python, filepath.Join("testdata", "peer.py"), string(b))
	stderr := new(bytes.Buffer)
	c.Stderr = stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	f = &foreign{t: t, in: in, out: bufio.NewScanner(out)}
	f.out.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("the libzmq peer: %s", stderr)
		}
	})
	var first any
	f.read(&first)
	if n, ok := first.(float64); ok {
		port = int(n)
	}
	return f, port
}

// read reads what the peer printed next.
func (f *foreign) read(what any) {
	f.t.Helper()
	if !f.out.Scan() {
		f.t.Fatalf("the libzmq peer ended: %v", f.out.Err())
	}
	if err := json.Unmarshal(f.out.Bytes(), what); err != nil {
		f.t.Fatalf("%v: %s", err, f.out.Text())
	}
}

func (f *foreign) want(want any) {
	f.t.Helper()
	got := reflect.New(reflect.TypeOf(want))
	f.read(got.Interface())
	if !reflect.DeepEqual(got.Elem().Interface(), want) {
		f.t.Fatalf("the libzmq peer says %v; want %v", got.Elem(), want)
	}
}

// proceed ends a wait of the peer.
func (f *foreign) proceed() { fmt.Fprintln(f.in) }

// meet connects a libzmq socket with one of ours: we accept it, or connect to it. offer is the
// minor version of our greeting.
func meet(t *testing.T, accept bool, their orders, o *Options, offer byte) (*foreign, *Conn, error) {
	t.Helper()
	ctx := t.Context()
	var nc net.Conn
	var f *foreign
	if accept {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		their.Connect = l.Addr().(*net.TCPAddr).Port
		f, _ = startForeign(t, their)
		l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
		if nc, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	} else {
		var port int
		var err error
		f, port = startForeign(t, their)
		if nc, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { nc.Close() })
	c, err := shake(ctx, nc, o, offer)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	} else {
		nc.Close()
	}
	return f, c, err
}

func mustMeet(t *testing.T, accept bool, their orders, o *Options) (*foreign, *Conn) {
	t.Helper()
	f, c, err := meet(t, accept, their, o, minor)
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

// securities are what both sides need for a mechanism; the one that binds is the server.
func libzmqSecurity(t *testing.T, name string, weServe bool) (ours Security, theirs orders) {
	t.Helper()
	theirs.Options = make(map[string]any)
	switch name {
	case "PLAIN":
		ours = Security{Server: weServe, Plain: &Plain{"fanin", "secret"}}
		if weServe {
			theirs.Options["PLAIN_USERNAME"], theirs.Options["PLAIN_PASSWORD"] = "fanin", "secret"
		} else {
			theirs.Options["PLAIN_SERVER"] = 1
			theirs.Plain = map[string]string{"fanin": "secret"}
		}
	case "CURVE":
		ourSecret, ourKey := newSecret(t)
		theirSecret, theirKey := newSecret(t)
		theirs.Options["CURVE_SECRETKEY"], theirs.Options["CURVE_PUBLICKEY"] = encodeZ85(theirSecret[:]), theirKey.String()
		ours = Security{Server: weServe, Curve: &Curve{Secret: ourSecret}}
		if weServe {
			ours.Curve.Clients = map[Key]bool{theirKey: true}
			theirs.Options["CURVE_SERVERKEY"] = ourKey.String()
		} else {
			ours.Curve.ServerKey = theirKey
			theirs.Options["CURVE_SERVER"] = 1
			theirs.Clients = t.TempDir()
			if err := WriteKeyPair(filepath.Join(theirs.Clients, "fanin"), ourSecret); err != nil {
				t.Fatal(err)
			}
		}
	default:
		ours.Server = weServe
	}
	return ours, theirs
}

// eachLibzmq runs a test with each mechanism, bound by us and by them.
func eachLibzmq(t *testing.T, test func(t *testing.T, weServe bool, ours Security, theirs orders)) {
	for _, name := range []string{"NULL", "PLAIN", "CURVE"} {
		for _, weServe := range []bool{true, false} {
			if testing.Short() && !weServe {
				continue // each of them starts a Python
			}
			t.Run(fmt.Sprintf("%s/serve=%v", name, weServe), func(t *testing.T) {
				t.Parallel()
				ours, theirs := libzmqSecurity(t, name, weServe)
				test(t, weServe, ours, theirs)
			})
		}
	}
}

var large = strings.Repeat("large", 20000)

func TestLibzmqPush(t *testing.T) {
	eachLibzmq(t, func(t *testing.T, weServe bool, ours Security, theirs orders) {
		theirs.Type = "PUSH"
		theirs.Steps = [][]string{{"send", "one"}, {"send", ""}, {"send", "a", "b", large}, {"wait"}}
		_, c := mustMeet(t, weServe, theirs, &Options{Type: Pull, Security: ours})
		for _, step := range theirs.Steps[:3] {
			wantFrames(t, c, step[1:])
		}
		if p := c.Peer(); p.Type != Push || p.Minor != 1 || (p.Key != Key{}) != (ours.Curve != nil) {
			t.Errorf("peer %+v", p)
		}
	})
}

// wantFrames receives a message and compares it.
func wantFrames(t *testing.T, c *Conn, want []string) {
	t.Helper()
	frames, err := c.Receive()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range frames {
		got = append(got, string(f))
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("received %.200q; want %.200q", got, want)
	}
}

func TestLibzmqPull(t *testing.T) {
	eachLibzmq(t, func(t *testing.T, weServe bool, ours Security, theirs orders) {
		theirs.Type = "PULL"
		theirs.Steps = [][]string{{"recv"}, {"recv"}, {"recv"}, {"recv"}}
		f, c := mustMeet(t, weServe, theirs, &Options{Type: Push, Security: ours})
		for _, message := range [][]string{{"one"}, {""}, {"a", "b", large}, {large, "c"}} {
			var frames [][]byte
			for _, s := range message {
				frames = append(frames, []byte(s))
			}
			if err := c.Send(frames...); err != nil {
				t.Fatal(err)
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			f.want(message)
		}
	})
}

// XPUB is PUB that also tells of subscriptions.
func TestLibzmqPub(t *testing.T) {
	eachLibzmq(t, func(t *testing.T, weServe bool, ours Security, theirs orders) {
		theirs.Type = "XPUB"
		theirs.Steps = [][]string{{"recv"}, {"send", "no", "x"}, {"send", "topic/a", "line"},
			{"recv"}, {"recv"}, {"send", "topic/b", "y"}, {"send", "no", "z"}, {"wait"}}
		f, c := mustMeet(t, weServe, theirs, &Options{Type: Sub, Security: ours})
		if err := c.Subscribe("topic"); err != nil {
			t.Fatal(err)
		}
		f.want([]string{"\x01topic"})
		wantFrames(t, c, []string{"topic/a", "line"})
		c.Cancel("topic")
		c.Subscribe("no")
		f.want([]string{"\x00topic"})
		f.want([]string{"\x01no"})
		wantFrames(t, c, []string{"no", "z"})
	})
}

func TestLibzmqSub(t *testing.T) {
	eachLibzmq(t, func(t *testing.T, weServe bool, ours Security, theirs orders) {
		theirs.Type = "SUB"
		theirs.Subscribe = []string{"topic"}
		theirs.Steps = [][]string{{"recv"}, {"subscribe", ""}, {"unsubscribe", "topic"}, {"wait"}}
		f, c := mustMeet(t, weServe, theirs, &Options{Type: Pub, Security: ours})
		wantSubscription(t, c, "topic", true)
		c.Send([]byte("topic/a"), []byte("line"))
		c.Flush()
		f.want([]string{"topic/a", "line"})
		wantSubscription(t, c, "", true)
		wantSubscription(t, c, "topic", false)
	})
}

func wantSubscription(t *testing.T, c *Conn, topic string, add bool) {
	t.Helper()
	got, adds, err := c.Subscription()
	if err != nil || string(got) != topic || adds != add {
		t.Fatalf("subscription %q %v, %v; want %q %v", got, adds, err, topic, add)
	}
}

// REQ sends an empty frame before the request, and wants it back before the reply.
func TestLibzmqReq(t *testing.T) {
	eachLibzmq(t, func(t *testing.T, weServe bool, ours Security, theirs orders) {
		if !weServe && ours.Mechanism() != "NULL" {
			t.Skip("a REQ that checks its peers gets no reply, from libzmq's own REP neither (4.3.4)")
		}
		theirs.Type = "REQ"
		theirs.Steps = [][]string{{"send", "ping"}, {"recv"}}
		f, c := mustMeet(t, weServe, theirs, &Options{Type: Rep, Security: ours})
		wantFrames(t, c, []string{"", "ping"})
		c.Send(nil, []byte("pong"))
		c.Flush()
		f.want([]string{"pong"})
	})
}

func TestLibzmqRep(t *testing.T) {
	eachLibzmq(t, func(t *testing.T, weServe bool, ours Security, theirs orders) {
		theirs.Type = "REP"
		theirs.Steps = [][]string{{"recv"}, {"send", "pong"}, {"wait"}}
		f, c := mustMeet(t, weServe, theirs, &Options{Type: Req, Security: ours})
		c.Send(nil, []byte("ping"))
		c.Flush()
		f.want([]string{"ping"})
		wantFrames(t, c, []string{"", "pong"})
	})
}

// A peer that is offered ZMTP 3.0 subscribes with messages, and takes such subscriptions.
func TestLibzmq30(t *testing.T) {
	f, c, err := meet(t, true, orders{Type: "SUB", Subscribe: []string{"topic"}, Steps: [][]string{{"recv"}, {"wait"}}}, &Options{Type: Pub}, 0)
	if err != nil || c.Peer().Minor != 0 {
		t.Fatalf("%+v, %v", c.Peer(), err)
	}
	wantSubscription(t, c, "topic", true)
	c.Send([]byte("topic"))
	c.Flush()
	f.want([]string{"topic"})

	f, c, err = meet(t, true, orders{Type: "XPUB", Steps: [][]string{{"recv"}, {"send", "topic", "line"}, {"wait"}}}, &Options{Type: Sub}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Subscribe("topic")
	f.want([]string{"\x01topic"})
	wantFrames(t, c, []string{"topic", "line"})
}

// Each side sends heartbeats that the other one answers.
func TestLibzmqHeartbeat(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for longer than timeouts")
	}
	for _, who := range []string{"they", "we"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			theirs := orders{Type: "PUSH", Steps: [][]string{{"wait"}, {"send", "still here"}, {"monitor"}, {"monitor"}}}
			o := &Options{Type: Pull}
			if who == "they" {
				theirs.Options = map[string]any{"HEARTBEAT_IVL": 100, "HEARTBEAT_TIMEOUT": 1000, "HEARTBEAT_TTL": 1500}
			} else {
				o.Heartbeat, o.HeartbeatTimeout, o.HeartbeatTTL = 100*time.Millisecond, time.Second, 1500*time.Millisecond
			}
			f, c := mustMeet(t, true, theirs, o)
			c.SetReadDeadline(time.Now().Add(2500 * time.Millisecond)) // longer than either timeout
			if _, err := c.Receive(); !os.IsTimeout(err) {
				t.Fatalf("%v; want the read deadline", err)
			}
			c.SetReadDeadline(time.Time{})
			time.Sleep(2500 * time.Millisecond) // the caller is busy: nothing is read for as long
			f.proceed()
			wantFrames(t, c, []string{"still here"})
			f.want("succeeded")
			// Now this side is silent: nothing reads and answers, or sends.
			c.beat.stop()
			f.want("disconnected")
		})
	}
}

// libzmq's application learns that it is refused, and why this side does.
func TestLibzmqRefused(t *testing.T) {
	_, ourKey := newSecret(t)
	theirSecret, theirKey := newSecret(t)
	ourSecret, realKey := newSecret(t)
	curve := func(server Key) map[string]any {
		return map[string]any{"CURVE_SERVERKEY": server.String(), "CURVE_PUBLICKEY": theirKey.String(), "CURVE_SECRETKEY": encodeZ85(theirSecret[:])}
	}
	for _, test := range []struct {
		name   string
		theirs orders
		ours   Security
		reason Reason
		text   string
		event  string
	}{
		{"password", orders{Type: "PUSH", Options: map[string]any{"PLAIN_USERNAME": "fanin", "PLAIN_PASSWORD": "wrong"}},
			Security{Server: true, Plain: &Plain{"fanin", "secret"}}, Credentials, "wrong user or password", "protocol"},
		{"client key", orders{Type: "PUSH", Options: curve(realKey)},
			Security{Server: true, Curve: &Curve{Secret: ourSecret, Clients: map[Key]bool{ourKey: true}}}, Credentials, theirKey.String(), "auth"},
		{"server key", orders{Type: "PUSH", Options: curve(ourKey)},
			Security{Server: true, Curve: &Curve{Secret: ourSecret}}, Credentials, realKey.String(), "failed"},
		{"mechanism", orders{Type: "PUSH"}, Security{Server: true, Curve: &Curve{Secret: ourSecret}}, OtherSecurity, `"NULL"`, "protocol"},
		{"socket type", orders{Type: "PUB"}, Security{Server: true}, OtherType, "talks to PUSH", "disconnected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.theirs.Steps = [][]string{{"monitor"}}
			f, _, err := meet(t, true, test.theirs, &Options{Type: Pull, Security: test.ours}, minor)
			wantReason(t, err, test.reason)
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v; want %q in it", err, test.text)
			}
			var event string
			f.read(&event)
			t.Logf("libzmq: %s; we: %v", event, err)
			if event != test.event {
				t.Errorf("libzmq reports %s; want %s", event, test.event)
			}
		})
	}
}

// This side learns why libzmq refuses it.
func TestLibzmqRefuses(t *testing.T) {
	theirSecret, theirKey := newSecret(t)
	ourSecret, otherKey := newSecret(t)
	server := func(clients string) orders {
		return orders{Type: "PULL", Clients: clients, Options: map[string]any{"CURVE_SERVER": 1, "CURVE_SECRETKEY": encodeZ85(theirSecret[:])}}
	}
	for _, test := range []struct {
		name   string
		theirs orders
		ours   Security
		reason Reason
		text   string
	}{
		{"password", orders{Type: "PULL", Plain: map[string]string{"fanin": "secret"}, Options: map[string]any{"PLAIN_SERVER": 1}},
			Security{Plain: &Plain{"fanin", "wrong"}}, Credentials, "status 400"},
		{"client key", server(t.TempDir()), Security{Curve: &Curve{Secret: ourSecret, ServerKey: theirKey}}, Credentials, "status 400"},
		{"server key", server(t.TempDir()), Security{Curve: &Curve{Secret: ourSecret, ServerKey: otherKey}}, Ended, "may not be the server key"},
		{"socket type", orders{Type: "SUB"}, Security{}, OtherType, `"SUB"; a PUSH socket talks to PULL`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.theirs.Steps = [][]string{{"wait"}}
			_, _, err := meet(t, false, test.theirs, &Options{Type: Push, Security: test.ours}, minor)
			wantReason(t, err, test.reason)
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v; want %q in it", err, test.text)
			}
		})
	}
}
