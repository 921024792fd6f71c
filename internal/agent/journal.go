package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/journal"
	"fanin/internal/wire"
)

// journalTable is [agent.journal]: this machine's journal.
type journalTable struct {
	Units     []string `toml:"units"`
	Matches   []string `toml:"matches"`
	Fields    []string `toml:"fields"`
	Source    string   `toml:"source"`
	PID       *bool    `toml:"pid"`
	Directory string   `toml:"directory"`
}

// settings are those of the journal.
func (t *journalTable) settings() journal.Settings {
	return journal.Settings{Units: t.Units, Matches: t.Matches, Fields: t.Fields, Source: cmp.Or(t.Source, "{unit}"),
		PID: config.Or(t.PID, true), Directory: t.Directory}
}

// checkJournal reports the mistakes in [agent.journal].
func (s *settings) checkJournal(at config.Table) {
	t := s.Agent.Journal
	if t == nil {
		return
	}
	j := t.settings()
	if err := j.Valid(); err != nil {
		at.Problem("", "%v", err)
	}
	if s.to.Scheme == "udp" {
		at.Problem("", "[agent.journal] needs acknowledgements, which udp does not have: use tcp:// or tls://")
	}
}

// checkJournalctl tries journalctl. When the agent starts, only what does not go away by itself
// counts: everything else is retried.
func (s *settings) checkJournalctl(starting bool) error {
	if s.Agent.Journal == nil {
		return nil
	}
	err := journal.Check(context.Background())
	if err == nil && !starting {
		err = journal.CheckRead(context.Background(), s.Agent.Journal.Directory)
	}
	if err == nil || starting && !errors.Is(err, journal.ErrUnusable) {
		return nil
	}
	return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("agent.journal: %w", err)}
}

// journalInput is the journal as a source of lines.
type journalInput struct{ *journal.Journal }

// newJournal makes the input of [agent.journal].
func (a *agent) newJournal(t *journalTable, out wire.Appender) journalInput {
	s := t.settings()
	s.Out, s.Log, s.MaxLine, s.State = out, a.log, int(a.settings.Agent.MaxLine), a.settings.Agent.State
	return journalInput{&journal.Journal{Settings: s}}
}

func (j journalInput) run(ctx context.Context) {
	if err := j.Run(ctx); !errors.Is(err, context.Canceled) {
		j.Log.Error("the journal is not followed any more; restart the agent", "err", err)
	}
}

func (j journalInput) counts() map[string]uint64 { return j.Counts() }

// sources is the journal as status shows it.
func (j journalInput) sources() []sourceStatus {
	st := j.Status()
	return []sourceStatus{{Kind: "journal", Name: "journal", LagSeconds: st.Waiting.Round(time.Millisecond).Seconds(),
		State: stateOf(st.Waiting, st.Stalled), Reason: st.Trouble}}
}
