package zmq

import (
	"context"
	"sync"
	"time"

	"fanin/internal/zmtp"
)

// subscriber is one peer. One goroutine reads its subscriptions, and another one writes
// the lines that wait for it; the publisher adds to these.
type subscriber struct {
	link  *zmtp.Link
	since time.Time
	wake  chan struct{} // lines wait

	mu      sync.Mutex
	asked   subscriptions
	waiting parts
	writing *part  // nil: none
	offered uint64 // lines that it had subscribed to
	sent    uint64 // of these
	dropped uint64 // of these, because it was too slow
	left    bool   // it is offered no more: what waits was counted
}

// Subscriber is the state of a connected subscriber.
type Subscriber struct {
	Peer          string    `json:"peer"`
	Since         time.Time `json:"since"`
	Subscriptions int       `json:"subscriptions"`
	Sent          uint64    `json:"sent"`    // lines
	Dropped       uint64    `json:"dropped"` // lines that it subscribed to and was too slow for
	Waiting       uint64    `json:"waiting"` // lines
}

func newSubscriber(l *zmtp.Link) *subscriber {
	return &subscriber{link: l, since: time.Now(), wake: make(chan struct{}, 1)}
}

func (s *subscriber) status() Subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

// leave ends what is offered, and returns the last state.
func (s *subscriber) leave() Subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	return s.state()
}

// state is the state. The caller holds the lock.
func (s *subscriber) state() Subscriber {
	return Subscriber{Peer: s.link.Remote, Since: s.since, Subscriptions: s.asked.len(), Sent: s.sent,
		Dropped: s.dropped, Waiting: s.offered - s.sent - s.dropped}
}

// subscribe applies a subscription, or its cancellation. It returns by how much the number
// of subscriptions changed.
func (s *subscriber) subscribe(topic []byte, add bool) (change int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.asked.len()
	if add {
		err = s.asked.add(topic)
	} else {
		s.asked.cancel(topic)
	}
	return s.asked.len() - before, err
}

// offer adds runs of a block to what waits, of which it drops the oldest if that becomes
// more than so many lines, or blocks before number first. It returns how many it dropped. The
// publisher may have listed a subscriber that has left since.
func (s *subscriber) offer(b *block, from, to, most int, first uint64) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return 0
	}
	added := s.waiting.add(b, from, to, &s.asked)
	s.offered += uint64(added)
	dropped = s.waiting.dropTo(most, first)
	s.dropped += uint64(dropped)
	if w := s.writing; w != nil && w.block.number < first && len(w.block.data) > blockSize {
		s.link.Close() // it is stuck in a long line, and would hold more memory than others
	}
	if added > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return dropped
}

// write writes what waits until ctx ends or the connection does.
func (s *subscriber) write(ctx context.Context, sent func(lines uint64)) {
	for ctx.Err() == nil {
		p := s.take()
		if p == nil {
			err := s.link.Flush()
			sent(s.count())
			if err != nil {
				return
			}
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		for messages, n := range p.stretches {
			if s.link.SendEncoded(messages, n) != nil {
				sent(s.count())
				return
			}
		}
		sent(s.count())
	}
}

func (s *subscriber) take() *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = s.waiting.take()
	return s.writing
}

// count notes how many lines the kernel has taken, and returns how many since the last
// time.
func (s *subscriber) count() uint64 {
	taken := uint64(s.link.Taken())
	s.mu.Lock()
	defer s.mu.Unlock()
	n := taken - s.sent
	s.sent = taken
	return n
}

// done reports whether nothing waits.
func (s *subscriber) done() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offered == s.sent+s.dropped
}
