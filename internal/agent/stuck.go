package agent

import (
	"log/slog"
	"time"
)

// stuckWatch reports each source once when it gets stuck, and once when it goes on. While
// there is no connection, all sources wait for that, which is reported once by the shipper.
type stuckWatch struct {
	looked    time.Time
	connected time.Time       // since when there is a connection; zero: there is none
	reported  map[string]bool // sources that are stuck, by kind and name
}

// lookEvery is the pause between two looks at what is stuck.
const lookEvery = 5 * time.Second

// mostStuck is how many sources one look reports one by one.
const mostStuck = 20

// observe looks at the sources. It is called at each look at the files.
func (a *agent) observe() {
	now := time.Now()
	if now.Sub(a.stuck.looked) < lookEvery || a.shipper == nil {
		return
	}
	a.stuck.looked = now
	connected := a.shipper.Trouble() == ""
	var list []sourceStatus
	if connected {
		list = a.stuckSources()
	}
	a.stuck.update(now, connected, list, a.log)
}

// stuckSources lists the sources that are stuck. It reads no file.
func (a *agent) stuckSources() (list []sourceStatus) {
	for _, f := range a.tailer.Stalled(stuckAfter) {
		list = append(list, fileSource(&f))
	}
	for _, in := range a.inputs {
		for _, s := range in.sources() {
			if s.State == stuck {
				list = append(list, s)
			}
		}
	}
	explain(list, "")
	return list
}

// update reports what changed.
func (w *stuckWatch) update(now time.Time, connected bool, list []sourceStatus, log *slog.Logger) {
	if !connected {
		w.connected = time.Time{}
		return
	}
	if w.connected.IsZero() {
		w.connected = now
	}
	if now.Sub(w.connected) < stuckAfter {
		return // they could not have gone on yet
	}
	before := w.reported
	w.reported = make(map[string]bool, len(list))
	more := 0
	for _, s := range list {
		name := s.Kind + " " + s.Name
		w.reported[name] = true
		if before[name] {
			continue
		}
		if more++; more <= mostStuck {
			log.Warn("a source is stuck: its lines wait, and none is acknowledged", "kind", s.Kind, "name", s.Name,
				"bytes", s.LagBytes, "waiting", time.Duration(s.LagSeconds*float64(time.Second)).Round(time.Second),
				"reason", s.Reason)
		}
	}
	if more > mostStuck {
		log.Warn("more sources are stuck, like those above; fanin-agent status names all", "sources", more-mostStuck)
	}
	going := 0
	for name := range before {
		if w.reported[name] {
			continue
		}
		if going++; going <= mostStuck {
			log.Info("a source goes on: its lines are acknowledged again", "source", name)
		}
	}
	if going > mostStuck {
		log.Info("more sources go on, like those above", "sources", going-mostStuck)
	}
}
