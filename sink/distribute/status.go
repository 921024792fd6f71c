package distribute

import (
	"bytes"
	"context"
	"time"

	"fanin/sink"
)

// GroupStatus is a group as it stands.
type GroupStatus struct {
	Group       string   `json:"group"`
	Position    string   `json:"position"` // everything before is done with
	Next        string   `json:"next"`     // nothing from here on was handed out yet
	Workers     int      `json:"workers"`
	Key         string   `json:"key,omitempty"`
	LagLines    uint64   `json:"lag_lines"` // not yet done with, as far as they can be counted
	LagBytes    int64    `json:"lag_bytes"`
	LagSeconds  float64  `json:"lag_seconds"` // age of the oldest of them; 0 in the raw format, which has no times
	InFlight    int      `json:"in_flight"`
	Waiting     int      `json:"waiting"` // lines to be handed out again
	Accepted    uint64   `json:"accepted"`
	Redelivered uint64   `json:"redelivered"`
	Dead        uint64   `json:"dead"`
	Expired     uint64   `json:"expired"` // removed before they were done with
	DeadLetters string   `json:"dead_letters,omitempty"`
	Problems    []string `json:"problems,omitempty"`
}

// WorkerStatus is a worker that is connected.
type WorkerStatus struct {
	Group     string    `json:"group"`
	Name      string    `json:"name"`
	Address   string    `json:"address"`
	Since     time.Time `json:"since"`
	Credit    int       `json:"credit"`
	InFlight  int       `json:"in_flight"`
	Handed    uint64    `json:"handed"`
	Acked     uint64    `json:"acked"`
	Suspended bool      `json:"suspended,omitempty"` // it let a lease end and has said nothing since
}

// Groups lists the groups. It reads what it needs to count what is left to do.
func (d *Distributor) Groups(ctx context.Context) ([]GroupStatus, error) {
	list := []GroupStatus{}
	for _, g := range d.all() {
		st, err := g.status(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, st)
	}
	return list, nil
}

func (g *group) status(ctx context.Context) (st GroupStatus, err error) {
	g.mu.Lock()
	low, next := g.low(), g.next
	open := g.outstanding()
	st = GroupStatus{
		Group: g.name, Position: low.String(), Next: next.String(), Workers: len(g.members), Key: g.terms.key, InFlight: g.inFlight,
		Accepted: g.counts.Accepted, Redelivered: g.counts.Redelivered, Dead: g.counts.Dead, Expired: g.counts.Expired,
	}
	for _, m := range g.members {
		if m.suspended {
			st.Problems = append(st.Problems, "worker "+m.hello.Name+" let a lease end and has said nothing since")
		}
	}
	g.mu.Unlock()
	st.Waiting = open.lines() - st.InFlight
	end := g.d.Sink.End()
	lines, _, err := g.d.Sink.Count(ctx, next, end)
	if err != nil {
		return st, err
	}
	st.LagLines, st.LagBytes = lines+uint64(open.lines()), g.d.Sink.Distance(next, end)
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

// age is how long ago the line at a position was read by its agent.
func (d *Distributor) age(ctx context.Context, at sink.Position) time.Duration {
	r := d.Sink.Reader(at)
	defer r.Close()
	text, _, err := r.Read(ctx, make([]byte, 4096))
	if err != nil || text == nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	t, err := time.Parse(time.RFC3339, string(d.Sink.Parts(line).Read))
	if err != nil {
		return 0
	}
	return max(time.Since(t), 0).Round(time.Millisecond)
}

// Workers lists the workers that are connected.
func (d *Distributor) Workers() []WorkerStatus {
	list := []WorkerStatus{}
	for _, g := range d.all() {
		g.mu.Lock()
		for _, m := range g.members {
			list = append(list, WorkerStatus{Group: g.name, Name: m.hello.Name, Address: m.nc.RemoteAddr().String(), Since: m.since,
				Credit: m.credit, InFlight: m.inFlight, Handed: m.handed, Acked: m.acked, Suspended: m.suspended})
		}
		g.mu.Unlock()
	}
	return list
}
