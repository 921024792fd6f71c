package sink

import (
	"iter"
	"slices"

	"fanin/internal/wire"
)

// Welcome is the welcome of an agent that connects. All of it is durable.
func (s *Sink) Welcome(agent string) wire.Welcome {
	s.view.mu.RLock()
	w := wire.Welcome{Log: s.view.catalog.log, Incarnation: s.view.catalog.logIncarnation}
	streams := slices.Clone(s.view.catalog.agents[agent])
	s.view.mu.RUnlock()
	w.Listing = wire.Listing{Count: len(streams), Pages: func(size int) iter.Seq[[]wire.StreamState] {
		return s.pages(streams, size)
	}}
	w.About = s.about()
	return w
}

// pages yields the states of the streams, a page at a time. One that has ended meanwhile
// is included as it was; a batch for it is then answered as for an unknown stream.
func (s *Sink) pages(streams []*stream, size int) iter.Seq[[]wire.StreamState] {
	return func(yield func([]wire.StreamState) bool) {
		page := make([]wire.StreamState, 0, min(size, len(streams)))
		for part := range slices.Chunk(streams, size) {
			page = page[:0]
			s.view.mu.RLock()
			for _, st := range part {
				page = append(page, wire.StreamState{
					Stream: st.own, Source: st.source, Identity: []byte(st.identity), Watermark: st.Watermark})
			}
			s.view.mu.RUnlock()
			if !yield(page) {
				return
			}
		}
	}
}
