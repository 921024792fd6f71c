package ship

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// An agent of more streams than it can take note of is welcomed all the same, and
// says so.
func TestWelcomeOfTooManyStreams(t *testing.T) {
	const streams = wire.MaxStreams + 700
	w := newWelcome()
	d := wire.NewDecoder(bytes.NewReader(wire.AppendWelcome(nil, wire.Welcome{Log: wire.NewStreamID(), Streams: make([]wire.StreamState, streams)})))
	for w.left > 0 {
		var f wire.Frame
		if err := d.Next(&f); err != nil {
			t.Fatal(err)
		}
		if err := w.take(&f); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.Streams) != wire.MaxStreams || w.ignored != 700 {
		t.Errorf("%d streams are taken note of, %d are not", len(w.Streams), w.ignored)
	}
	var said strings.Builder
	w.report(slog.New(slog.NewTextHandler(&said, nil)))
	if !strings.Contains(said.String(), "ignored=700") || !strings.Contains(said.String(), "streams --forget") {
		t.Errorf("said %q", said.String())
	}
}
