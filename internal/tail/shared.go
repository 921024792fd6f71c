package tail

import "sync"

// shared does something once for all callers that ask before it begins: a thousand files may
// wait for the same look at a directory. The zero value is ready.
type shared[T any] struct {
	mu    sync.Mutex
	next  map[string]*round[T]
	turns sync.Mutex // for one round at a time
}

type round[T any] struct {
	once   sync.Once
	result T
}

// do calls f for a key, or waits for a round of another caller that begins after this call.
func (s *shared[T]) do(key string, f func() T) T {
	s.mu.Lock()
	r := s.next[key]
	if r == nil {
		if s.next == nil {
			s.next = make(map[string]*round[T])
		}
		r = new(round[T])
		s.next[key] = r
	}
	s.mu.Unlock()
	r.once.Do(func() {
		s.turns.Lock()
		defer s.turns.Unlock()
		s.mu.Lock()
		delete(s.next, key) // a later call needs a later round
		s.mu.Unlock()
		r.result = f()
	})
	return r.result
}
