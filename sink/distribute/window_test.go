package distribute

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/line"
)

// windowed is a group with a window over all that a log has, and without a dispatcher.
func windowed(t *testing.T, b *bench) (g *group, m *member) {
	t.Helper()
	b.put("web", "app", "one", "two")
	start, err := b.sink.Resolve(t.Context(), "start")
	if err != nil {
		t.Fatal(err)
	}
	b.wait("the lines", func() bool { return b.sink.End().Compare(start) > 0 })
	g = newGroup(b.dist, "g", start)
	if g.terms.match, err = b.sink.Matcher(line.Filter{}); err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close(); g.reader.close() })
	m = newMember(g, ours, &protocol.Hello{Group: "g", Credit: 10, Weight: 1, Batch: 10, Lease: time.Minute}, 1)
	m.active = true
	g.members = append(g.members, m)
	b.dist.groups.mu.Lock()
	b.dist.groups.byName["g"] = g
	b.dist.groups.mu.Unlock()
	b.dist.Allow("g", Window{Epoch: 1, From: start, To: b.sink.End()})
	return g, m
}

// What the dispatcher has read when the window of a group ends is not handed out: it may be another
// log's by now. Nor is it while the distributor shuts down, which may have found that no answer is missing.
func TestWindowEndsWhileReading(t *testing.T) {
	for name, end := range map[string]func(*Distributor){
		"dismissed": func(d *Distributor) { d.Dismiss("g") },
		"moved":     func(d *Distributor) { d.Move(t.Context(), "g", sink.Position{Generation: 1}) },
		"shut down": (*Distributor).drain,
		"not":       func(*Distributor) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := openNew(t, Settings{Windows: true, Partition: "3"})
			g, m := windowed(t, b)
			p, _ := g.plan()
			if p == nil {
				t.Fatalf("there is nothing to hand out from %v in %v", g.next, g.window)
			}
			r := g.reader.read(t.Context(), b.sink, p)
			end(b.dist)
			g.handOut(p, r)
			g.mu.Lock()
			defer g.mu.Unlock()
			if got, want := m.inFlight > 0, name == "not"; got != want {
				t.Errorf("%d lines were handed out", m.inFlight)
			}
		})
	}
}

// A group has not finished what cannot be saved: its record would be ahead of its cursors.
func TestFinishedIsSaved(t *testing.T) {
	b := openNew(t, Settings{Windows: true, Partition: "3"})
	g, _ := windowed(t, b)
	if done, err := b.dist.Finished(t.Context(), "g", g.next); !done || err != nil {
		t.Errorf("finished: %v, %v", done, err)
	}
	g.mu.Lock()
	g.members = nil // it has no connection that leaves
	g.mu.Unlock()
	b.down()
	if done, err := b.dist.Finished(t.Context(), "g", g.next); done || !errors.Is(err, ErrClosed) {
		t.Errorf("finished, although it was not saved: %v, %v", done, err)
	}
}

// A worker that comes for lines which are handed out elsewhere by now is told where they are. A fault
// would end it.
func TestElsewhere(t *testing.T) {
	b := openNew(t, Settings{Windows: true, Partition: "0"})
	r := NewDirector(Settings{}, 1)
	r.Here = func(int, string) *Distributor { return b.dist }
	r.Places = func(context.Context, *protocol.Hello) (protocol.Places, error) {
		return protocol.Places{Cluster: "c", Partitions: 1}, nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go r.Serve(ln) // ends by Close
	t.Cleanup(r.Close)
	answer := func(what string) {
		t.Helper()
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write(protocol.AppendHello(nil, &protocol.Hello{Group: "g", Cluster: true, Partition: "0"}))
		if f, err := protocol.NewReader(nc, 4096).Frame(); err != nil || f.Kind != protocol.KindPlaces {
			t.Errorf("%s: the worker is answered %q %q, %v", what, f.Kind, f.Reason, err)
		}
	}
	answer("the window has ended")
	b.down()
	answer("the log is closed")
}
