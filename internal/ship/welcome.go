package ship

import (
	"fmt"
	"log/slog"

	"fanin/internal/wire"
)

// welcome gathers a welcome and the pages of streams behind it.
type welcome struct {
	wire.Welcome
	left    int64 // streams that are still to come; before the welcome itself, 1
	ignored int64 // streams beyond wire.MaxStreams
}

func newWelcome() *welcome { return &welcome{left: 1} }

// maxAnnounced is more streams than any log knows: a number beyond it is no welcome's.
const maxAnnounced = 1 << 24

// take takes the next frame.
func (w *welcome) take(f *wire.Frame) error {
	switch {
	case f.Kind == wire.KindWelcome && w.Log.IsZero():
		if f.N < 0 || f.N > maxAnnounced {
			return fmt.Errorf("read the welcome: %w: it announces %d streams of this agent", wire.ErrProtocol, f.N)
		}
		w.Welcome, w.left = f.Welcome, f.N
	case f.Kind == wire.KindStreams && !w.Log.IsZero():
		w.left -= max(1, int64(len(f.Streams)))
		room := min(len(f.Streams), wire.MaxStreams-len(w.Streams))
		w.Streams = append(w.Streams, f.Streams[:room]...)
		w.ignored += int64(len(f.Streams) - room)
	default:
		return fmt.Errorf("read the welcome: %w: a frame of kind %d", wire.ErrProtocol, f.Kind)
	}
	return nil
}

// report says what is not taken note of. It costs memory here, not lines: but a
// file of such a stream begins anew if this agent has no mark of it.
func (w *welcome) report(log *slog.Logger) {
	if w.ignored > 0 {
		log.Warn("the collector knows more streams of this agent than it can take note of; a file that is known by one of the others, and not by a mark of this agent, is sent from its start again. "+
			"Forget old ones with: fanin-collector streams --forget --agent ID --older 30d", "taken", len(w.Streams), "ignored", w.ignored)
	}
}
