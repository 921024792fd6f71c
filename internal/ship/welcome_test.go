package ship

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

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
