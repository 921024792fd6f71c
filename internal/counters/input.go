// Package counters counts, for each input of a collector, what became of its lines. The
// input counts what it receives, splits, drops, or does not know the outcome of; the
// sink counts what it writes, what is a duplicate, and what it rejects. Together they
// account for every line:
//
//	received = written + duplicate + rejected + unsure + dropped
//
// while nothing is in flight.
package counters

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Reasons for which lines of any input are rejected.
const (
	OutOfPlace = "out_of_place"  // they do not continue their stream
	TooLarge   = "too_large"     // they break a limit of batches
	RawFormat  = "raw_format"    // the raw format cannot hold them
	Streams    = "streams"       // no more streams may begin
	Content    = "other_content" // a key came again with other content
	Retry      = "retry"         // they were not written now; their sender sends them again
)

// Input counts the lines of one input. Set.New makes it. It is safe for concurrent
// use.
type Input struct {
	name string

	received, receivedBytes, split atomic.Uint64
	written, writtenBytes          atomic.Uint64
	duplicate, unsure, dropped     atomic.Uint64

	mu       sync.Mutex
	class    Class                     // 0: none was given
	rejected map[string]*atomic.Uint64 // by reason
}

func newInput(name string) *Input {
	c := &Input{name: name, rejected: make(map[string]*atomic.Uint64)}
	for _, reason := range []string{OutOfPlace, TooLarge, RawFormat, Streams, Content, Retry} {
		c.rejected[reason] = new(atomic.Uint64)
	}
	return c
}

// Name returns the name of the input, as batches, metrics and documents have it.
func (c *Input) Name() string { return c.name }

// Class returns the class of the input.
func (c *Input) Class() Class {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.class, None)
}

// weaken makes the class one that promises no more than the given one.
func (c *Input) weaken(class Class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.class = max(c.class, class)
}

// Received counts lines that were read, repeats included, and their bytes.
func (c *Input) Received(lines, bytes int) {
	c.received.Add(uint64(lines))
	c.receivedBytes.Add(uint64(bytes))
}

// Split counts lines that were longer than allowed and divided into parts. Each part
// counts as a line elsewhere.
func (c *Input) Split(lines int) { c.split.Add(uint64(lines)) }

// Written counts lines that were committed, and their bytes in the file.
func (c *Input) Written(lines, bytes int) {
	c.written.Add(uint64(lines))
	c.writtenBytes.Add(uint64(bytes))
}

// Duplicate counts lines that were committed before.
func (c *Input) Duplicate(lines int) { c.duplicate.Add(uint64(lines)) }

// Rejected counts lines that are not written. There must be few different reasons.
func (c *Input) Rejected(reason string, lines int) {
	c.mu.Lock()
	n := c.rejected[reason]
	if n == nil {
		n = new(atomic.Uint64)
		c.rejected[reason] = n
	}
	c.mu.Unlock()
	n.Add(uint64(lines))
}

// Unsure counts lines that cannot be sent again and that may or may not be written.
func (c *Input) Unsure(lines int) { c.unsure.Add(uint64(lines)) }

// Dropped counts lines that were received and then lost before anything could write them.
func (c *Input) Dropped(lines int) { c.dropped.Add(uint64(lines)) }

// Counts is what Input had counted at one moment.
type Counts struct {
	Received  uint64            `json:"received_lines"`
	Written   uint64            `json:"written_lines"`
	Duplicate uint64            `json:"duplicate_lines"`
	Rejected  map[string]uint64 `json:"rejected_lines,omitempty"` // by reason, without zeros
	Unsure    uint64            `json:"unsure_lines"`
	Dropped   uint64            `json:"dropped_lines"`
	Split     uint64            `json:"split_lines"`

	ReceivedBytes uint64 `json:"received_bytes"`
	WrittenBytes  uint64 `json:"written_bytes"`
}

// Counts returns what was counted until now.
func (c *Input) Counts() Counts {
	n := Counts{
		Written: c.written.Load(), Duplicate: c.duplicate.Load(), Unsure: c.unsure.Load(), Dropped: c.dropped.Load(),
		Split: c.split.Load(), ReceivedBytes: c.receivedBytes.Load(), WrittenBytes: c.writtenBytes.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for reason, v := range c.rejected {
		if v := v.Load(); v > 0 {
			if n.Rejected == nil {
				n.Rejected = make(map[string]uint64)
			}
			n.Rejected[reason] = v
		}
	}
	n.Received = c.received.Load()
	return n
}

// InFlight returns how many lines have no outcome yet: zero while nothing is under way,
// or a line was not accounted for.
func (n *Counts) InFlight() int64 {
	known := n.Written + n.Duplicate + n.Unsure + n.Dropped
	for _, v := range n.Rejected {
		known += v
	}
	return int64(n.Received - known)
}

// Set is the inputs of a process. Its zero value is ready. It is a
// prometheus.Collector.
type Set struct {
	mu     sync.Mutex
	byName map[string]*Input
}

// New returns the counters of an input, which several listeners of a kind share. Where
// their classes differ, the input has the one that promises less.
func (s *Set) New(name string, class Class) *Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.inputLocked(name)
	c.weaken(class)
	return c
}

// Of returns the counters of the input that a batch names. An input that nothing has
// made with New has the class None.
func (s *Set) Of(name string) *Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inputLocked(name)
}

func (s *Set) inputLocked(name string) *Input {
	c := s.byName[name]
	if c == nil {
		if s.byName == nil {
			s.byName = make(map[string]*Input)
		}
		c = newInput(name)
		s.byName[name] = c
	}
	return c
}

// All returns the counters of all inputs, by name.
func (s *Set) All() []*Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Input, 0, len(s.byName))
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		all = append(all, s.byName[name])
	}
	return all
}
