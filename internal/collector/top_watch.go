package collector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"fanin/internal/top"
	"fanin/sink"
	"fanin/sink/distribute"
)

// topWatch is what top has asked of a collector.
type topWatch struct {
	target  *target
	status  status
	workers []distribute.WorkerStatus
	agents  []topAgent
	streams []sink.StreamStatus // at most topStreams of each order
	known   int                 // streams in all

	listed    time.Time          // when the streams were listed
	listing   time.Duration      // how long that took
	asked     time.Time          // when the status was
	lineRates map[string]float64 // lines/s by input; nil: not known yet
	err       error              // why the last answer did not come
	listErr   error              // why the last list of streams did not
}

// topAgent is an agent, connected or known by its streams.
type topAgent struct {
	name, host string
	connected  bool
	streams    int
	seen       time.Time
}

// topStreams is how many streams are kept to be shown.
const topStreams = 200

// frame asks, and shows what it has.
func (w *topWatch) frame(ctx context.Context, order top.Order) ([]string, []top.Table) {
	w.err = w.ask(ctx)
	return w.show(order)
}

// The time that answers have: keys wait for them.
const (
	topPatience     = 3 * time.Second
	topListPatience = 10 * time.Second
)

// ask asks for everything. A list of many streams takes long: it is asked for less often, and
// without it everything else is shown.
func (w *topWatch) ask(ctx context.Context) error {
	if err := w.askStatus(ctx); err != nil {
		return err
	}
	start := time.Now()
	if start.Sub(w.listed) < 10*w.listing {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, topListPatience)
	defer cancel()
	w.listErr = w.list(ctx)
	w.listed, w.listing = time.Now(), time.Since(start)
	if w.listErr != nil {
		w.listing = max(w.listing, time.Second)
	}
	return nil
}

// askStatus asks for what is answered at once.
func (w *topWatch) askStatus(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, topPatience)
	defer cancel()
	var st status
	if err := w.target.ask(ctx, "GET", "/status", &st); err != nil {
		return err
	}
	now := time.Now()
	w.rates(&st, now.Sub(w.asked))
	w.status, w.asked = st, now
	w.workers = nil
	if st.Groups == nil {
		return nil
	}
	return w.target.ask(ctx, "GET", "/workers", &w.workers)
}

// rates compares the inputs with those of the status before. A collector that started again has
// fewer lines.
func (w *topWatch) rates(st *status, since time.Duration) {
	if w.asked.IsZero() || !st.Since.Equal(w.status.Since) {
		w.lineRates = nil
		return
	}
	w.lineRates = make(map[string]float64)
	for _, x := range w.status.Inputs {
		w.lineRates[x.Input] = -float64(x.Received)
	}
	for _, x := range st.Inputs {
		w.lineRates[x.Input] = (w.lineRates[x.Input] + float64(x.Received)) / since.Seconds()
	}
}

// list reads all streams, and keeps those that were silent longest, and all agents.
func (w *topWatch) list(ctx context.Context) error {
	agents := make(map[string]*topAgent)
	of := func(name string) *topAgent {
		if agents[name] == nil {
			agents[name] = &topAgent{name: name}
		}
		return agents[name]
	}
	var streams []sink.StreamStatus
	known := 0
	err := w.target.askFor(ctx, "GET", "/streams", func(answer io.Reader) error {
		in := json.NewDecoder(answer)
		if _, err := in.Token(); err != nil {
			return fmt.Errorf("read the list of streams: %w", err)
		}
		for in.More() {
			var s sink.StreamStatus
			if err := in.Decode(&s); err != nil {
				return fmt.Errorf("read the list of streams: %w", err)
			}
			known++
			if s.Agent != "" {
				a := of(s.Agent)
				a.streams++
				a.host = cmp.Or(a.host, s.Host)
				if s.Seen.After(a.seen) {
					a.seen = s.Seen
				}
			}
			if streams = append(streams, s); len(streams) == 2*topStreams {
				slices.SortFunc(streams, silentFirst)
				streams = streams[:topStreams]
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(streams, silentFirst)
	w.streams, w.known = streams[:min(len(streams), topStreams)], known
	for _, s := range w.status.Agents {
		name := s.Agent
		if s.Name != "" {
			name += "/" + s.Name
		}
		a := of(name)
		a.host, a.connected = s.Host, true
	}
	w.agents = nil
	for _, a := range agents {
		w.agents = append(w.agents, *a)
	}
	return nil
}

func silentFirst(a, b sink.StreamStatus) int {
	return cmp.Or(a.Seen.Compare(b.Seen), cmp.Compare(a.Stream, b.Stream))
}
