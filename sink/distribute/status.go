package distribute

import (
	"bytes"
	"context"
	"time"

	"fanin/sink"
)

// GroupStatus is the state of a group.
type GroupStatus struct {
	Group       string   `json:"group"`
	Position    string   `json:"position"` // every line before is finished
	Next        string   `json:"next"`     // of the first line that was never handed out
	Workers     int      `json:"workers"`
	Key         string   `json:"key,omitempty"`
	LagLines    uint64   `json:"lag_lines"` // not finished, as far as they can be counted
	LagBytes    int64    `json:"lag_bytes"`
	LagSeconds  float64  `json:"lag_seconds"` // age of the oldest; 0 in the raw format: no times
	InFlight    int      `json:"in_flight"`
	Waiting     int      `json:"waiting"` // lines to be handed out again
	Accepted    uint64   `json:"accepted"`
	Redelivered uint64   `json:"redelivered"`
	Dead        uint64   `json:"dead"`
	Expired     uint64   `json:"expired"` // removed before they were finished
	DeadLetters string   `json:"dead_letters,omitempty"`
	Problems    []string `json:"problems,omitempty"`
}

// WorkerStatus is a connected worker.
type WorkerStatus struct {
	Group     string    `json:"group"`
	Name      string    `json:"name"`
	Address   string    `json:"address"`
	Since     time.Time `json:"since"`
	Credit    int       `json:"credit"`
	InFlight  int       `json:"in_flight"`
	Handed    uint64    `json:"handed"`
	Acked     uint64    `json:"acked"`
	Suspended bool      `json:"suspended,omitempty"` // it let a lease end and has sent nothing since
}

// Groups returns the groups by name. It reads the log as far as it must to count what is left.
func (d *Distributor) Groups(ctx context.Context) ([]GroupStatus, error) {
	list := []GroupStatus{}
	for _, g := range d.groups.all() {
		st, err := g.status(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, st)
	}
	return list, nil
}

// status returns the state of the group, with the number of lines that are left.
func (g *group) status(ctx context.Context) (st GroupStatus, err error) {
	st, low, next, open := g.snapshot()
	st.Waiting = open.lines() - st.InFlight
	end := g.d.sink.End()
	lines, _, err := g.d.sink.Count(ctx, next, end)
	if err != nil {
		return st, err
	}
	st.LagLines, st.LagBytes = lines+uint64(open.lines()), g.d.sink.Distance(next, end)
	for _, s := range open {
		st.LagBytes += s.to - s.from
	}
	if st.Dead > 0 {
		st.DeadLetters = g.deadPath()
	}
	if low.Compare(end) < 0 {
		st.LagSeconds = g.d.age(ctx, low).Seconds()
	}
	return st, nil
}

// snapshot returns what is known without reading the log.
func (g *group) snapshot() (st GroupStatus, low, next sink.Position, open spans) {
	g.mu.Lock()
	defer g.mu.Unlock()
	low, next, open = g.lowLocked(), g.next, g.outstandingLocked()
	c := &g.counts
	st = GroupStatus{
		Group: g.name, Position: low.String(), Next: next.String(), Workers: len(g.members), Key: g.terms.key,
		InFlight: g.inFlight, Accepted: c.Accepted, Redelivered: c.Redelivered, Dead: c.Dead, Expired: c.Expired,
	}
	for _, m := range g.members {
		if m.suspended {
			st.Problems = append(st.Problems, "worker "+m.hello.Name+" let a lease end and has sent nothing since")
		}
	}
	return st, low, next, open
}

// age returns how long ago the agent read the line at a position.
func (d *Distributor) age(ctx context.Context, at sink.Position) time.Duration {
	r := d.sink.Reader(at)
	defer r.Close()
	text, _, err := r.Read(ctx, make([]byte, 4096))
	if err != nil || text == nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	t, err := time.Parse(time.RFC3339, string(d.sink.Parts(line).Read))
	if err != nil {
		return 0
	}
	return max(time.Since(t), 0).Round(time.Millisecond)
}

// Workers returns the connected workers.
func (d *Distributor) Workers() []WorkerStatus {
	list := []WorkerStatus{}
	for _, g := range d.groups.all() {
		g.mu.Lock()
		for _, m := range g.members {
			list = append(list, WorkerStatus{Group: g.name, Name: m.hello.Name, Address: m.nc.RemoteAddr().String(),
				Since: m.since, Credit: m.credit, InFlight: m.inFlight, Handed: m.handed, Acked: m.acked,
				Suspended: m.suspended})
		}
		g.mu.Unlock()
	}
	return list
}
