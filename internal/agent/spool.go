package agent

import (
	"log/slog"
	"time"

	"fanin/internal/config"
	"fanin/internal/spool"
)

// spoolTable is [agent.spool]: the bound on each spool.
type spoolTable struct {
	MaxBytes config.Size `toml:"max_bytes"`
	WhenFull string      `toml:"when_full"`
}

func (s *settings) checkSpool(at config.Table) {
	t := &s.Agent.Spool
	at.SizeBetween("max_bytes", &t.MaxBytes, 16<<20, 1<<50)
	at.OneOf("when_full", t.WhenFull, string(spool.Block), string(spool.DropOldest))
}

// spool are the settings of a spool.
func (s *settings) spool(dir, source string, log *slog.Logger) spool.Settings {
	c := &s.Agent
	batch := max(int(c.BatchSize), int(c.MaxLine)) + 4<<10 // the longest line fits, with its labels
	return spool.Settings{
		Dir: dir, Agent: c.ID, Source: source, MaxBytes: int64(c.Spool.MaxBytes),
		WhenFull: spool.Policy(c.Spool.WhenFull), MaxLine: int(c.MaxLine), BatchBytes: batch, Log: log,
	}
}

// spoolStatus is a spool as status shows it.
func spoolStatus(kind, name string, s *spool.Spool, stalled *stalled) sourceStatus {
	st := s.Status()
	waiting, since := time.Duration(0), stalled.since(acknowledged(s.Counts()))
	if !st.Oldest.IsZero() {
		waiting = max(1, time.Since(st.Oldest))
	}
	return sourceStatus{Kind: kind, Name: name, Source: st.Source, LagBytes: st.Behind,
		LagSeconds: waiting.Seconds(), State: stateOf(waiting, min(waiting, since)), Reason: st.Trouble}
}
