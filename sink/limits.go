package sink

import (
	"cmp"
	"fmt"
	"time"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

// Limits bound how many streams a log knows, since each takes memory and state
// for as long as it lives. Zero fields take their value in DefaultLimits.
type Limits struct {
	Streams           int // in all
	StreamsPerAgent   int // of one agent; at most wire.MaxStreams
	StreamsPerAddress int // of all agents that come from one address without a certificate
	Unproven          int // of all agents without a certificate, so that they leave room for the others
	Lossy             int // lossy streams in all, which are part of Streams
	LossyPerAddress   int // lossy streams that come from one address

	LossyExpiry time.Duration // forget a lossy stream of which nothing came for this long; < 0 never
}

// DefaultLimits are the limits where none are set.
func DefaultLimits() Limits {
	return Limits{Streams: 300_000, StreamsPerAgent: 100_000, StreamsPerAddress: 50_000, Unproven: 200_000,
		Lossy: 10_000, LossyPerAddress: 1_000, LossyExpiry: 24 * time.Hour}
}

func (l *Limits) defaults() {
	d := DefaultLimits()
	l.Streams = cmp.Or(l.Streams, d.Streams)
	l.StreamsPerAgent = min(cmp.Or(l.StreamsPerAgent, d.StreamsPerAgent), wire.MaxStreams)
	l.StreamsPerAddress = cmp.Or(l.StreamsPerAddress, d.StreamsPerAddress)
	l.Unproven = cmp.Or(l.Unproven, d.Unproven)
	l.Lossy, l.LossyPerAddress = cmp.Or(l.Lossy, d.Lossy), cmp.Or(l.LossyPerAddress, d.LossyPerAddress)
	l.LossyExpiry = cmp.Or(l.LossyExpiry, d.LossyExpiry)
}

// Which limit was met, for counting.
const (
	limitTotal    = "total"
	limitAgent    = "agent"
	limitAddress  = "address"
	limitUnproven = "unproven"
	limitLossy    = "lossy"
	limitLossyIP  = "lossy_address"
)

// scope is the streams that a limit counts together: all, or those of one sender.
type scope struct{ limit, sender string }

// count notes that the group adds a stream of o, or with n = -1 that it ends one.
func (g *group) count(o origin, n int) {
	g.added[scope{limitTotal, ""}] += n
	switch o.kind {
	case wire.StreamAgent:
		g.added[scope{limitAgent, wire.AgentID(o.agent)}] += n
		if o.address != "" {
			g.added[scope{limitAddress, o.address}] += n
			g.added[scope{limitUnproven, ""}] += n
		}
	case wire.StreamLossy:
		g.added[scope{limitLossy, ""}] += n
		g.added[scope{limitLossyIP, o.address}] += n
	}
}

// bound is a limit, and how many streams are counted against it.
type bound struct {
	scope
	streams, most int
	format        string // of a refusal, and its arguments
	args          []any
}

// bounds returns the limits that hold for one more stream of b's sender. The narrower
// lossy limit comes first: at a wider one, another address's stream may be displaced.
func (w *writer) bounds(b *wire.Batch) []bound {
	l, c := &w.s.Limits, w.catalog
	total := bound{scope{limitTotal, ""}, len(c.streams), l.Streams,
		"the log knows %d streams, as many as streams in [collector.limits] allows", []any{l.Streams}}
	switch b.Kind {
	case wire.StreamNATS, wire.StreamRedis:
		return nil // few, and the configuration decides how many
	case wire.StreamLossy:
		ofAddress := 0
		if x := c.senders.lossy[b.Address]; x != nil {
			ofAddress = x.streams
		}
		return []bound{{scope{limitLossyIP, b.Address}, ofAddress, l.LossyPerAddress,
			"%d lossy streams come from %s, as many as lossy_streams_per_address in [collector.limits] allows",
			[]any{l.LossyPerAddress, b.Address}},
			total,
			{scope{limitLossy, ""}, c.senders.all.streams, l.Lossy,
				"the log knows %d lossy streams, as many as lossy_streams in [collector.limits] allows",
				[]any{l.Lossy}}}
	case wire.StreamAgent:
		agent := wire.AgentID(b.Agent)
		all := []bound{total, {scope{limitAgent, agent}, c.senders.agents[agent], l.StreamsPerAgent,
			"agent %q has %d streams, as many as streams_per_agent in [collector.limits] allows",
			[]any{agent, l.StreamsPerAgent}}}
		if b.Address == "" {
			return all
		}
		return append(all,
			bound{scope{limitAddress, b.Address}, c.senders.addresses[b.Address], l.StreamsPerAddress,
				"agents without a certificate have %d streams from %s, " +
					"as many as streams_per_address in [collector.limits] allows",
				[]any{l.StreamsPerAddress, b.Address}},
			bound{scope{limitUnproven, ""}, c.senders.unproven, l.Unproven,
				"agents without a certificate have %d streams, " +
					"as many as unproven_streams in [collector.limits] allows", []any{l.Unproven}})
	}
	return []bound{total}
}

// full returns the limit that one more stream of b's sender would exceed, and describes
// it; "" if there is none. What the group adds and ends counts already.
func (w *writer) full(b *wire.Batch) (limit, text string) {
	for _, x := range w.bounds(b) {
		if x.streams+w.group.added[x.scope] >= x.most {
			return x.limit, fmt.Sprintf(x.format, x.args...)
		}
	}
	return "", ""
}

// admit lets a new stream begin, or returns why it may not. At a limit, a lossy stream
// replaces the one that sent only one batch, longest ago: most likely it is not missed.
// No other stream is ever displaced.
func (w *writer) admit(b *wire.Batch) (refused error) {
	limit, text := w.full(b)
	if limit != "" && b.Kind == wire.StreamLossy && w.displace(b, limit) {
		limit = ""
	}
	if limit != "" {
		w.s.counts.streams.refused[limit].Add(1)
		w.s.counts.of(b.Input).Rejected(counters.Streams, countLines(b.Text))
		w.warnings.Warn(limit, "streams are refused: "+text, "agent", b.Agent, "address", b.Address, "source", b.Source)
		return &wire.Refused{Reason: text + "; forget some with fanin-collector streams --forget, or raise the limit"}
	}
	w.group.count(origin{kind: b.Kind, agent: b.Agent, address: b.Address}, 1)
	return nil
}

// displace ends a lossy stream so that b's may begin.
func (w *writer) displace(b *wire.Batch, limit string) bool {
	st := w.catalog.senders.displaceable(b.Address, limit != limitLossyIP)
	if st == nil || w.group.streams[st.id] {
		return false
	}
	w.end(st, 0)
	w.s.counts.streams.displaced.Add(1)
	return true
}

// end adds the end of a stream that the collector itself decides on. lines is what
// remains known of a lossy stream in case it returns; 0: nothing.
func (w *writer) end(st *stream, lines int64) {
	st.batches = 2 // it is not displaced again
	w.group.streams[st.id] = true
	w.group.count(st.origin.Value(), -1)
	r := record{stream: st.id, epoch: st.Epoch, op: wire.OpEnd, offset: st.Offset, end: st.Offset, after: st.Tail}
	if r.lossy = st.lossy(); r.lossy {
		r.after = wire.Hash(lines)
	}
	w.group.records = append(w.group.records, r)
}

// expireEvery is how often lossy streams are looked through.
const expireEvery = time.Minute

// expire ends lossy streams of which nothing came for long. Should one return,
// what is left of it still counts what never came.
func (w *writer) expire(now time.Time) error {
	limit := w.s.Limits.LossyExpiry
	if limit < 0 || now.Sub(w.lastExpiry) < expireEvery {
		return nil
	}
	w.lastExpiry = now
	var old []*stream
	for _, st := range w.catalog.streams {
		if st.lossy() && now.Sub(time.UnixMicro(st.seen)) >= limit {
			old = append(old, st)
		}
	}
	w.s.counts.streams.expired.Add(uint64(len(old)))
	return w.endAll(old)
}

// endAll ends streams, a bounded number to a frame.
func (w *writer) endAll(streams []*stream) error {
	for i, st := range streams {
		w.end(st, st.lines)
		if i%endsPerFrame == endsPerFrame-1 {
			if err := w.commit(); err != nil {
				return err
			}
		}
	}
	return w.commit()
}

// endsPerFrame is how many streams begin or end in one frame, so that many at once do
// not fill the write-ahead log.
const endsPerFrame = 1024
