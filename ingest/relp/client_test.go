package relp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// server is a listener with a log in memory.
type server struct {
	*Protocol
	listener *stream.Listener
	budget   *ingest.Budget
	recorder *ingesttest.Recorder
	address  string
	stop     func()
}

// start serves p until the test ends, or stop is called. Zero fields of p are filled.
func start(t testing.TB, p *Protocol) *server {
	t.Helper()
	return startWithin(t, p, stream.Limits{})
}

func startWithin(t testing.TB, p *Protocol, limits stream.Limits) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, p, limits, ln)
}

// startPipes is startWithin with connections in memory: no kernel holds a part of what is written.
func startPipes(t testing.TB, p *Protocol, limits stream.Limits) (*server, *ingesttest.Pipes) {
	t.Helper()
	pipes := ingesttest.NewPipes()
	return startOn(t, p, limits, pipes), pipes
}

func startOn(t testing.TB, p *Protocol, limits stream.Limits, ln net.Listener) *server {
	t.Helper()
	s := &server{Protocol: p, recorder: ingesttest.NewRecorder(), budget: new(ingest.Budget)}
	if r, ok := p.Out.(*ingesttest.Recorder); ok {
		s.recorder = r
	} else if p.Out == nil {
		p.Out = s.recorder
	}
	s.listener = &stream.Listener{Formats: []stream.Format{p.Format()}, Budget: s.budget,
		Metrics: p.Metrics, Limits: limits}
	s.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.listener.Serve(ln) }() // ends by stop
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), waittest.Limit)
		defer cancel()
		if err := s.listener.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
		if n := s.budget.Used(); n != 0 {
			t.Errorf("%d bytes of memory were not released", n)
		}
	}
	t.Cleanup(s.stop)
	return s
}

// remembered is what a log with these batches remembers.
func remembered(batches []wire.Batch) func(wire.ExtensionKind) map[string][]byte {
	all := make(map[string][]byte)
	for _, b := range batches {
		for _, x := range b.Extensions {
			if all[x.Name] = x.Value; len(x.Value) == 0 {
				delete(all, x.Name)
			}
		}
	}
	return func(wire.ExtensionKind) map[string][]byte { return all }
}

// batches are those recorded until now.
func (s *server) batches(t testing.TB) []wire.Batch {
	_, all := s.recorder.Wait(t, func(string, []wire.Batch) bool { return true })
	return all
}

// again starts a server that has what s has recorded in its log.
func (s *server) again(t testing.TB) *server {
	t.Helper()
	s.stop()
	return start(t, &Protocol{Out: s.recorder, Sessions: &Sessions{Remembered: remembered(s.batches(t))}})
}

func (s *server) metric(t testing.TB, name string) int {
	t.Helper()
	return ingesttest.Metric(t, s.Metrics, "fanin_relp_"+name+"_total", "")
}

// must fails the test at an error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// linesOf are lines, each with its newline.
func linesOf(all ...string) string { return strings.Join(all, "\n") + "\n" }

// several are messages with numbers.
func several(from, to int) (all []string) {
	for n := from; n < to; n++ {
		all = append(all, fmt.Sprintf("line %d", n))
	}
	return all
}
