package ship

import (
	"fmt"
	"log/slog"

	"fanin/internal/wire"
)

// welcome collects a welcome and the pages of streams behind it.
type welcome struct {
	wire.Welcome
	left    int64 // streams that are still to come; before the welcome itself, 1
	ignored int64 // streams beyond wire.MaxStreams
}

func newWelcome() *welcome { return &welcome{left: 1} }

// maxAnnounced is more streams than any log has: a larger number is a protocol error.
const maxAnnounced = 1 << 24

// add adds the next frame.
func (w *welcome) add(f *wire.Frame) error {
	switch {
	case f.Kind == wire.KindWelcome && w.Log.IsZero():
		if f.N < 0 || f.N > maxAnnounced {
			return fmt.Errorf("read the welcome: %w: it announces %d streams of this agent", wire.ErrProtocol, f.N)
		}
		w.Welcome, w.left = f.Welcome, f.N
	case f.Kind == wire.KindStreams && !w.Log.IsZero():
		w.left -= max(1, int64(len(f.Streams)))
		n := min(len(f.Streams), wire.MaxStreams-len(w.Streams))
		w.Streams = append(w.Streams, f.Streams[:n]...)
		w.ignored += int64(len(f.Streams) - n)
	default:
		return fmt.Errorf("read the welcome: %w: a frame of kind %d", wire.ErrProtocol, f.Kind)
	}
	return nil
}

// report logs which streams are ignored. That bounds memory and loses no lines. But a file
// of an ignored stream is sent from its start again if this agent has no mark of it.
func (w *welcome) report(log *slog.Logger) {
	if w.ignored > 0 {
		log.Warn("the collector knows more streams of this agent than the agent can hold: files of the other streams "+
			"are sent from their start again, unless this agent has a mark of them; "+
			"remove old streams with: fanin-collector streams --forget --agent ID --older 30d",
			"used", len(w.Streams), "ignored", w.ignored)
	}
}
