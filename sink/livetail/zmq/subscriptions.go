package zmq

import (
	"fmt"
	"slices"
	"strings"
)

// The bounds of what one subscriber may ask for.
const (
	maxSubscriptions     = 512
	maxSubscriptionBytes = 8 << 10 // of all topics together
)

// subscriptions are what one subscriber asked for: prefixes of topics. It may ask for one
// several times, and then has to cancel it as often.
type subscriptions struct {
	all   []subscription // by topic, without repeats
	bytes int            // of the topics

	// top is those topics of all that begin with no other one of them, in order. So at most
	// one of them is a prefix of a given topic: the last one that is not above it. Nil: it has
	// to be computed.
	top []string
}

type subscription struct {
	topic string
	times int
}

// add subscribes to what begins with topic. The error says which bound it would exceed.
func (s *subscriptions) add(topic []byte) error {
	at, found := s.find(topic)
	if found {
		s.all[at].times++
		return nil
	}
	if len(s.all) == maxSubscriptions || s.bytes+len(topic) > maxSubscriptionBytes {
		return fmt.Errorf("more than %d subscriptions, or %d bytes of topics", maxSubscriptions, maxSubscriptionBytes)
	}
	s.all = slices.Insert(s.all, at, subscription{string(topic), 1})
	s.bytes += len(topic)
	s.top = nil
	return nil
}

// cancel undoes one add. What was never added is ignored.
func (s *subscriptions) cancel(topic []byte) {
	at, found := s.find(topic)
	if !found {
		return
	}
	if s.all[at].times--; s.all[at].times > 0 {
		return
	}
	s.all = slices.Delete(s.all, at, at+1)
	s.bytes -= len(topic)
	s.top = nil
}

// len is how many different topics there are.
func (s *subscriptions) len() int { return len(s.all) }

// every reports whether every topic is subscribed to.
func (s *subscriptions) every() bool { return len(s.all) > 0 && s.all[0].topic == "" }

// match reports whether topic begins with one of those that are subscribed to.
func (s *subscriptions) match(topic []byte) bool {
	if len(s.all) == 0 || s.every() {
		return len(s.all) > 0
	}
	if s.top == nil {
		s.findTop()
	}
	at, found := slices.BinarySearchFunc(s.top, topic, compare)
	return found || at > 0 && hasPrefix(topic, s.top[at-1])
}

func (s *subscriptions) find(topic []byte) (at int, found bool) {
	return slices.BinarySearchFunc(s.all, topic, func(x subscription, t []byte) int { return compare(x.topic, t) })
}

func (s *subscriptions) findTop() {
	for _, x := range s.all {
		if n := len(s.top); n == 0 || !strings.HasPrefix(x.topic, s.top[n-1]) {
			s.top = append(s.top, x.topic)
		}
	}
}

// compare and hasPrefix make no string of a topic.
func compare(a string, b []byte) int {
	switch {
	case a < string(b):
		return -1
	case a > string(b):
		return 1
	}
	return 0
}

func hasPrefix(topic []byte, prefix string) bool {
	return len(topic) >= len(prefix) && string(topic[:len(prefix)]) == prefix
}
