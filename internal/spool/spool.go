// Package spool keeps lines that cannot be read again, such as those of a pipe or a
// socket, in files of its own until a collector has them.
//
// A spool is a directory of segments: files with ascending numbers, to which lines are
// only appended. Each segment is a stream of the log, with a random id in its header.
// They are sent one after the other, so the order holds: the next one begins when the one
// before is acknowledged and removed.
//
// A line counts as taken when its segment was synced, which happens at least every
// SyncBytes or SyncEvery. Nothing is sent before it was synced. After kill -9 or a power
// cut, what was synced is sent by the next process that opens the directory, which begins
// a new segment.
package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Policy says what becomes of lines that come while the spool is full.
type Policy string

// The policies.
const (
	Block      Policy = "block"       // Append waits: the source is not read
	DropOldest Policy = "drop_oldest" // whole segments of which nothing was sent are dropped, counted and reported
)

// Settings configure a Spool. Zero fields have the defaults that are named.
type Settings struct {
	Dir      string // of the segments, used by one process at a time; required; it is made
	Agent    string // the id under which lines are sent: it owns the segments; required
	Source   string // of lines that Append names none for; required
	MaxBytes int64  // of all segments together; default 1 GiB
	WhenFull Policy // default Block
	MaxLine  int    // longer lines are divided; default wire.MaxLine
	Disk     *disk.Disk
	Log      *slog.Logger // default: discard

	// SyncBytes and SyncEvery bound what is not synced yet; defaults 1 MiB and 50 ms.
	SyncBytes int
	SyncEvery time.Duration
	// SegmentBytes is the size at which the next segment begins; default MaxBytes/16, from
	// 64 KiB to 64 MiB.
	SegmentBytes int64
	// BatchBytes is the most text in a batch; default 1 MiB.
	BatchBytes int
	// Refused is the pause after a refusal, each time twice as long up to 64 times, and until
	// the next welcome at most; default 1 min.
	Refused time.Duration
}

const (
	defaultBytes = 1 << 30
	leastSegment = 64 << 10
	mostSegment  = 64 << 20
	segments     = 16 // in a full spool: only whole ones are dropped, and each has a descriptor
)

func (s *Settings) defaults() {
	s.MaxBytes = cmp.Or(s.MaxBytes, defaultBytes)
	s.WhenFull = cmp.Or(s.WhenFull, Block)
	s.MaxLine = min(cmp.Or(s.MaxLine, wire.MaxLine), wire.MaxLine)
	s.SegmentBytes = cmp.Or(s.SegmentBytes, min(max(s.MaxBytes/segments, leastSegment), mostSegment))
	s.SyncBytes = cmp.Or(s.SyncBytes, int(min(1<<20, s.SegmentBytes)))
	s.SyncEvery = cmp.Or(s.SyncEvery, 50*time.Millisecond)
	s.BatchBytes = cmp.Or(s.BatchBytes, 1<<20)
	s.Refused = cmp.Or(s.Refused, time.Minute)
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
}

// Spool is a bounded queue of lines on the disk. Append and Sync may be called from
// many goroutines, Run from one at a time. Close it in any case: its writer ends then.
//
//   - mu guards everything below it. Only the writer's goroutine writes to the disk, except
//     that Run removes the first segment when that is acknowledged.
//   - segments ascend. Only the last one is not sealed; only the first one is sent.
type Spool struct {
	Settings
	limited *retry.Log
	counts  counts
	session session
	id      wire.StreamID // of the spool
	kick    chan struct{} // wakes the writer
	written chan struct{} // closed when the writer has ended

	mu       sync.Mutex
	segments []*segment
	last     uint64        // number of the last segment that there ever was
	changed  chan struct{} // closed at the next change; nil: no goroutine waits for it
	queue    queue
	closing  bool // Append takes no more
	closed   bool // what could not be written is given up
	ended    bool // the writer has ended: no segment will be added
	full     bool // an Append waits for room
	place    place
	oldest   int64  // when the first line that is on its way arrived, in microseconds since 1970
	unwrote  string // why nothing is written
	unsent   string // why nothing is sent
}

// OwnerError says that a spool has lines of an agent with another id. Under this id they
// would be sent as lines of new streams, perhaps a second time.
type OwnerError struct{ Dir, Owner, Agent string }

// Error says whose lines they are, and what to do.
func (e *OwnerError) Error() string {
	return fmt.Sprintf("the spool %s has lines of the agent %q, and this agent is %q: run an agent with --id %s until "+
		"they are sent, or remove the directory, which loses them", e.Dir, e.Owner, e.Agent, e.Owner)
}

// ErrClosed is the error of an Append after Close.
var ErrClosed = errors.New("the spool is closed")

// Open opens a spool, and makes its directory if there is none. What earlier processes left
// in it is sent first. The error is an *OwnerError if it belongs to another agent.
func Open(settings Settings) (*Spool, error) {
	settings.defaults()
	if n := len(settings.Agent); n == 0 || n > maxAgent {
		return nil, fmt.Errorf("the agent's id has %d bytes; want 1 to %d", n, maxAgent)
	}
	s := &Spool{Settings: settings, limited: retry.NewLog(settings.Log), kick: make(chan struct{}, 1),
		written: make(chan struct{})}
	if err := s.Disk.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the spool: %w", err)
	}
	s.place = s.readPlace()
	s.id = s.place.spool
	if err := s.list(); err != nil {
		return nil, err
	}
	if s.id.IsZero() {
		s.id = wire.NewStreamID()
	}
	go s.write() // ends by Close
	return s, nil
}

// signalLocked wakes everything that waits for a change.
func (s *Spool) signalLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// waitLocked waits for a change, or for ctx, whose error it returns. It unlocks meanwhile.
func (s *Spool) waitLocked(ctx context.Context) error {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake wakes the writer.
func (s *Spool) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Sync waits until all that was appended before is synced. It goes on trying while the disk
// is full or fails; if ctx ends first, the error says why.
func (s *Spool) Sync(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := s.queue.appended; s.queue.synced < end; {
		if s.closed {
			return s.whyLocked(ErrClosed)
		}
		if s.queue.synced+int64(s.queue.writing) < end {
			s.queue.hurry = true
			s.wake()
		}
		if err := s.waitLocked(ctx); err != nil {
			return s.whyLocked(err)
		}
	}
	return nil
}

func (s *Spool) whyLocked(err error) error {
	if s.unwrote == "" {
		return err
	}
	return fmt.Errorf("lines cannot be written to the spool: %s (%w)", s.unwrote, err)
}

// Close ends the appending: it syncs what was appended, and Run returns when all of that is
// acknowledged. It goes on trying as Sync does; when ctx ends, what is not synced is lost,
// and the error says why. It may be called again.
func (s *Spool) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.signalLocked()
	s.mu.Unlock()
	err := s.Sync(ctx)
	s.mu.Lock()
	s.closed = true
	s.signalLocked()
	s.mu.Unlock()
	s.wake()
	<-s.written
	return err
}
