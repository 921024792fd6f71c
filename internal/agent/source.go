package agent

import (
	"cmp"
	"time"

	"fanin/internal/tail"
)

// sourceStatus is how far a source is behind: a file, a socket, the journal.
type sourceStatus struct {
	Kind       string  `json:"kind"`             // "file", "unix", "stdin" or "journal"
	Name       string  `json:"name"`             // its path, or what it is
	Source     string  `json:"source,omitempty"` // of its lines
	LagBytes   int64   `json:"lag_bytes"`        // bytes that are not acknowledged
	LagSeconds float64 `json:"lag_seconds"`      // for how long the oldest line has waited, at least; 0: none waits
	State      string  `json:"state"`            // see stateOf
	Reason     string  `json:"reason,omitempty"` // what it waits for
}

// The states of a source.
const (
	current = "current" // all whole lines are acknowledged
	behind  = "behind"  // lines wait
	stuck   = "stuck"   // and none was acknowledged for stuckAfter
)

const kindFile = "file"

// stuckAfter is for how long nothing must be acknowledged until a source counts as stuck.
const stuckAfter = time.Minute

// input is a source of lines beside the files of [[agent.file]].
type input interface {
	sources() []sourceStatus
	counts() map[string]uint64 // by name, as in docs/metrics.md
}

// lag says for how long lines wait, and why.
func (s *sourceStatus) lag() (text string) {
	if s.State != current {
		lag := time.Duration(s.LagSeconds * float64(time.Second))
		text = " lag=" + lag.Round(100*time.Millisecond).String()
	}
	switch {
	case s.State == stuck:
		text += " STUCK: " + s.Reason
	case s.Reason != "":
		text += " (" + s.Reason + ")"
	}
	return text
}

// stateOf names the state of a source by the time for which lines wait, and for which none
// of them was acknowledged.
func stateOf(waiting, stalled time.Duration) string {
	switch {
	case waiting == 0:
		return current
	case stalled < stuckAfter:
		return behind
	}
	return stuck
}

// sources lists all sources, and why those are stuck that are. trouble is why there is no
// connection.
func (a *agent) sources(files []tail.FileStatus, trouble string) (all []sourceStatus) {
	for i := range files {
		all = append(all, fileSource(&files[i]))
	}
	for _, in := range a.inputs {
		all = append(all, in.sources()...)
	}
	explain(all, trouble)
	return all
}

// fileSource is a followed file as a source.
func fileSource(f *tail.FileStatus) sourceStatus {
	return sourceStatus{Kind: kindFile, Name: f.Path, Source: f.Source, LagBytes: f.Size - f.Acked,
		LagSeconds: f.Waiting.Seconds(), State: stateOf(f.Waiting, f.Stalled), Reason: f.Reason}
}

// explain completes the reasons for which sources wait. trouble is why there is no connection.
func explain(all []sourceStatus, trouble string) {
	for i := range all {
		s := &all[i]
		switch {
		case s.State == current && s.LagBytes == 0:
			s.Reason = ""
		case s.State != current && trouble != "":
			reason := "no connection to the collector"
			if s.Kind != kindFile && s.Reason != "" {
				reason += "; " + s.Reason // as of a full disk: a connection alone is no remedy
			}
			s.Reason = reason
		case s.State == stuck:
			s.Reason = cmp.Or(s.Reason, "nothing was acknowledged")
		}
	}
}

// counts are the counters of all sources by name.
func (a *agent) counts() map[string]uint64 {
	counts := a.tailer.Counts()
	for _, in := range a.inputs {
		for name, n := range in.counts() {
			counts[name] += n
		}
	}
	return counts
}
