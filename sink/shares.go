package sink

import (
	"cmp"
	"slices"
	"sync"

	"fanin/internal/wire"
)

// Sender is one sender's part of the log: an agent, or an address of plain
// lines; neither: all smaller ones together.
type Sender struct {
	Agent     string `json:"agent,omitempty"`
	Host      string `json:"host,omitempty"` // of lines without an agent: the peer's address
	Bytes     int64  `json:"bytes"`          // of laid-out text in files that are still kept
	AboveHalf bool   `json:"above_half,omitempty"`
}

type senderKey struct{ agent, host string }

// shares counts the bytes that each sender has in the files that are kept, from
// the start of the process on. The table is bounded: in each span of files, the
// smaller senders are counted together, and the number of spans is bounded.
type shares struct {
	mu    sync.Mutex
	spans []*span   // the oldest first
	above senderKey // has, or had, more than half of what is kept
}

// span is the senders of neighbouring files.
type span struct {
	last  uint64 // generation
	sum   int64
	bytes map[senderKey]int64
}

const (
	maxShares          = 256
	maxSpans           = 64
	maxReportedSenders = 20
)

// add counts n bytes that b brought into generation.
func (s *shares) add(b *wire.Batch, n int, generation uint64) {
	k := senderKey{agent: wire.AgentID(b.Agent)}
	if k.agent == "" {
		k.host = b.Host
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.spans) - 1
	if last < 0 || s.spans[last].last != generation {
		s.spans = append(s.spans, &span{last: generation, bytes: make(map[senderKey]int64)})
		if last++; last >= maxSpans {
			last = s.joinLocked()
		}
	}
	s.spans[last].add(k, int64(n))
}

func (t *span) add(k senderKey, n int64) {
	if _, known := t.bytes[k]; !known && len(t.bytes) >= maxShares {
		t.shrink()
	}
	t.bytes[k] += n
	t.sum += n
}

// shrink counts the smaller half together.
func (t *span) shrink() {
	sizes := make([]int64, 0, len(t.bytes))
	for _, n := range t.bytes {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	median, rest := sizes[len(sizes)/2], int64(0)
	for k, n := range t.bytes {
		if n <= median {
			rest += n
			delete(t.bytes, k)
		}
	}
	t.bytes[senderKey{}] += rest
}

// joinLocked makes one span of the two neighbours, but the newest, that are smallest
// together, and returns where the newest is.
func (s *shares) joinLocked() int {
	at := 0
	for i := range len(s.spans) - 2 {
		if s.spans[i].sum+s.spans[i+1].sum < s.spans[at].sum+s.spans[at+1].sum {
			at = i
		}
	}
	for k, n := range s.spans[at].bytes {
		s.spans[at+1].add(k, n)
	}
	s.spans = slices.Delete(s.spans, at, at+1)
	return len(s.spans) - 1
}

// list is the senders by size. Stretches before the oldest generation are forgotten.
func (s *shares) list(oldest uint64) (list []Sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = slices.DeleteFunc(s.spans, func(t *span) bool { return t.last < oldest })
	sums := make(map[senderKey]int64)
	for _, t := range s.spans {
		for k, n := range t.bytes {
			sums[k] += n
		}
	}
	for k, n := range sums {
		if k != (senderKey{}) {
			list = append(list, Sender{Agent: k.agent, Host: k.host, Bytes: n, AboveHalf: k == s.above})
		}
	}
	slices.SortFunc(list, func(a, b Sender) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Host, b.Host))
	})
	rest := sums[senderKey{}]
	for i := maxReportedSenders; i < len(list); i++ {
		rest += list[i].Bytes
	}
	if list = list[:min(len(list), maxReportedSenders)]; rest > 0 {
		list = append(list, Sender{Bytes: rest})
	}
	return list
}

// Senders is how much each sender has of the files that are kept, since the start: the
// largest, and the rest together.
func (s *Sink) Senders() []Sender {
	return s.counts.shares.list(s.start().Generation)
}

// watchShares reports once when one sender has more than half of what may be kept:
// retention then removes what others wrote earlier. kept is the size of the files as
// they are, compressed or not; keepBytes is how many may be kept.
func (s *Sink) watchShares(kept, keepBytes int64) {
	if keepBytes <= 0 {
		return
	}
	files := s.files()
	text := int64(1)
	for _, g := range files {
		text += g.Size
	}
	var above senderKey
	list := s.counts.shares.list(s.start().Generation)
	if len(list) > 0 && float64(list[0].Bytes)/float64(text)*float64(kept) > float64(keepBytes)/2 {
		above = senderKey{list[0].Agent, list[0].Host}
	}
	s.counts.shares.mu.Lock()
	news := above != s.counts.shares.above && above != senderKey{}
	s.counts.shares.above = above
	s.counts.shares.mu.Unlock()
	if news {
		s.Notice("SENDER agent=%q host=%q bytes=%d of=%d: more than half of keep_bytes is this sender's, "+
			"so the lines of others are removed earlier; limit the sender with max_rate, or raise keep_bytes",
			above.agent, above.host, list[0].Bytes, text)
	}
}
