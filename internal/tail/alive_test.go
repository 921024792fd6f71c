package tail

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/wire"
)

// unreachable is a collector that is never there.
type unreachable struct{}

func (unreachable) Append(ctx context.Context, _ wire.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}

// An agent that waits for its collector is alive: its watchdog is fed.
func TestAliveWithoutCollector(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	alive := false
	tl := &Tailer{Settings: Settings{Tables: []Table{{Paths: []string{filepath.Join(t.TempDir(), "*.log")}}}, State: t.TempDir(), Out: unreachable{},
		Poll: time.Millisecond, Alive: func() { alive = true; stop() }}}
	tl.Run(ctx)
	if !alive {
		t.Error("Alive was not called while no collector was there")
	}
}
