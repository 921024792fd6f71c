package natsconn

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
)

// TestDial: a connection survives its server. Each event is reported, but the library's
// summary of failed attempts is not.
func TestDial(t *testing.T) {
	s := natstest.New(t)
	s.Stop()
	type event struct {
		what string
		err  error
	}
	events := make(chan event, 1000)
	d := Dialer{
		Login: Login{URL: s.ClientURL()},
		Up: func(_ *nats.Conn, again bool) {
			events <- event{map[bool]string{false: "up", true: "up again"}[again], nil}
		},
		Lost:   func(_ *nats.Conn, err error) { events <- event{"lost", err} },
		Failed: func(_ *nats.Conn, err error) { events <- event{"failed", err} },
	}
	nc, err := d.Dial()
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		for e := range events {
			switch {
			case e.what == "failed" && errors.Is(e.err, nats.ErrNoServers):
				t.Fatalf("the failed attempt is reported as %v", e.err)
			case e.what == want:
				return
			case e.what != "failed":
				t.Fatalf("%q, want %q", e.what, want)
			}
		}
	}
	next("failed")
	s.Start()
	next("up")
	s.Stop()
	next("lost")
	s.Start()
	next("up again")
	nc.Close()
	if len(events) > 0 {
		t.Errorf("a closed connection reports %v", <-events)
	}
}

// TestForbidden: what the server forbids is reported with its subject.
func TestForbidden(t *testing.T) {
	deny := &server.SubjectPermission{Deny: []string{"secret"}}
	s := natstest.New(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "a", Password: "a", Permissions: &server.Permissions{Publish: deny, Subscribe: deny}}}
		o.NoAuthUser = "a"
	})
	reports := make(chan ForbiddenError, 10)
	d := Dialer{Login: Login{URL: s.ClientURL()}, Forbidden: func(f *ForbiddenError) { reports <- *f }}
	nc, err := d.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := WaitConnected(t.Context(), nc, nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("secret", nil); err != nil {
		t.Fatal(err)
	}
	if got := <-reports; got != (ForbiddenError{"secret", true}) {
		t.Errorf("reported is %+v", got)
	}
	if _, err := nc.Subscribe("secret", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if got := <-reports; got != (ForbiddenError{"secret", false}) {
		t.Errorf("reported is %+v", got)
	}
}

// TestWaitConnected: a rejected login is reported while the wait goes on; the wait ends
// when the server accepts it, or with its context.
func TestWaitConnected(t *testing.T) {
	s := natstest.New(t, func(o *server.Options) { o.Authorization = "secret" })
	nc, err := (&Dialer{Login: Login{URL: s.ClientURL()}}).Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithCancel(t.Context())
	rejected := func(_ *nats.Conn, err error) {
		if errors.Is(err, nats.ErrAuthorization) {
			cancel()
		}
	}
	if err := WaitConnected(ctx, nc, rejected); !errors.Is(err, context.Canceled) {
		t.Errorf("without the secret: %v", err)
	}
	s.Stop()
	s.Change(func(o *server.Options) { o.Authorization = "" })
	s.Start()
	if err := WaitConnected(t.Context(), nc, nil); err != nil {
		t.Error(err)
	}
}

// TestWhileConnected: the context ends with the connection, and with stop.
func TestWhileConnected(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	if err := WaitConnected(t.Context(), nc, nil); err != nil {
		t.Fatal(err)
	}
	stopped, stop := WhileConnected(t.Context(), nc)
	stop()
	if <-stopped.Done(); !errors.Is(context.Cause(stopped), context.Canceled) {
		t.Errorf("stopped: %v", context.Cause(stopped))
	}
	lost, stop := WhileConnected(t.Context(), nc)
	defer stop()
	s.Stop()
	<-lost.Done()
	if !errors.Is(context.Cause(lost), nats.ErrDisconnected) {
		t.Errorf("the server is gone: %v", context.Cause(lost))
	}
}

// TestStreamOpen: a stream that is missing is made if that is wanted; one that would lose
// messages silently is refused with the remedy.
func TestStreamOpen(t *testing.T) {
	s := natstest.New(t)
	js := s.JetStream(s.Connect())
	want := Stream{Name: "LOGS", Subjects: []string{"logs.>"}, Replicas: 1}
	if _, _, err := want.Open(t.Context(), js); err == nil {
		t.Error("opened a stream that does not exist")
	}
	want.Create = true
	for _, created := range []bool{true, false} {
		if _, got, err := want.Open(t.Context(), js); got != created || err != nil {
			t.Errorf("created %v, %v; want %v", got, err, created)
		}
	}
}
