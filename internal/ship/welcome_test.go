package ship

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// An agent with more streams than it can hold is welcomed, and logs what it ignores.
func TestWelcomeOfTooManyStreams(t *testing.T) {
	const streams = wire.MaxStreams + 700
	w := newWelcome()
	d := wire.NewDecoder(bytes.NewReader(wire.AppendWelcome(nil, wire.Welcome{Log: wire.NewStreamID(), Streams: make([]wire.StreamState, streams)})))
	for w.left > 0 {
		var f wire.Frame
		if err := d.Next(&f); err != nil {
			t.Fatal(err)
		}
		if err := w.add(&f); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.Streams) != wire.MaxStreams || w.ignored != 700 {
		t.Errorf("%d streams are used, %d are ignored", len(w.Streams), w.ignored)
	}
	var said strings.Builder
	w.report(slog.New(slog.NewTextHandler(&said, nil)))
	if !strings.Contains(said.String(), "ignored=700") || !strings.Contains(said.String(), "streams --forget") {
		t.Errorf("logged is %q", said.String())
	}
}

// A welcome ends, whatever comes: pages without streams, and pages of more than was
// announced.
func TestWelcomeEnds(t *testing.T) {
	for _, page := range [][]wire.StreamState{nil, make([]wire.StreamState, 512)} {
		w := newWelcome()
		frames := 0
		for next := (wire.Frame{Kind: wire.KindWelcome, Welcome: wire.Welcome{Log: wire.NewStreamID()}, N: 3}); w.left > 0; frames++ {
			if frames > 4 {
				t.Fatalf("%d streams are still to come behind %d pages of %d", w.left, frames, len(page))
			}
			if err := w.add(&next); err != nil {
				t.Fatal(err)
			}
			next = wire.Frame{Kind: wire.KindStreams, Streams: page}
		}
		if err := w.add(&wire.Frame{Kind: wire.KindWelcome, Welcome: wire.Welcome{Log: wire.NewStreamID()}}); err == nil {
			t.Error("a second welcome is accepted")
		}
	}
	for _, f := range []wire.Frame{{Kind: wire.KindStreams}, {Kind: wire.KindPong}, {Kind: wire.KindWelcome, N: -1}, {Kind: wire.KindWelcome, N: maxAnnounced + 1}} {
		if err := newWelcome().add(&f); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("it begins with %+v: %v", f, err)
		}
	}
}

// TestLostOnce: each reason for which there is no connection is logged once until there is
// one, however often several addresses fail in turn.
func TestLostOnce(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var c connState[*tcpSession]
	fail := func() {
		for range 3 {
			c.lost(log, "a:1", errors.New("refused"), time.Second)
			c.lost(log, "b:1", errors.New("unreachable"), time.Second)
		}
	}
	fail()
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines: %s", n, out.String())
	}
	c.use(new(tcpSession))
	c.use(nil)
	fail()
	if n := strings.Count(out.String(), "\n"); n != 4 || c.Trouble() != "b:1: unreachable" {
		t.Errorf("%d lines, after another connection: %s; trouble %q", n, out.String(), c.Trouble())
	}
	for i := range 100 {
		c.lost(log, "a:1", fmt.Errorf("reason %d", i), time.Second)
	}
	if n := strings.Count(out.String(), "\n"); n != 2+mostTroubles {
		t.Errorf("%d lines", n)
	}
}
