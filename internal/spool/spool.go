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
	"io"
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

// Spool is a bounded queue of lines on the disk. Append, Copy and Sync may be called from
// many goroutines, Run from one at a time.
type Spool struct {
	Settings
	limited *retry.Log
	mu      sync.Mutex
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

var errNotBuilt = errors.New("not built yet")

// Open opens a spool, and makes its directory if there is none. What earlier processes left
// in it is sent first. The error is an *OwnerError if it belongs to another agent.
func Open(s Settings) (*Spool, error) {
	s.defaults()
	return &Spool{Settings: s, limited: retry.NewLog(s.Log)}, nil
}

// Append takes whole lines, each ending in '\n', that arrived now; source is theirs, "" for
// the spool's own. It returns when they are in memory: Sync waits until they are synced. It
// waits while the spool is full, or while so much is not synced that there is no memory; its
// error is ctx's, or ErrClosed. text may be used again when it has returned.
func (s *Spool) Append(ctx context.Context, text []byte, source string) error { return errNotBuilt }

// Copy appends all lines that r gives, until its end. A last line without a newline is a
// line. Lines longer than MaxLine are divided, so memory is bounded. n is how many bytes
// were read. A read that waits must be ended by closing r.
func (s *Spool) Copy(ctx context.Context, r io.Reader, source string) (n int64, err error) {
	return 0, errNotBuilt
}

// Sync waits until all that was appended before is synced. It goes on trying while the disk
// is full or fails; if ctx ends first, the error says why.
func (s *Spool) Sync(ctx context.Context) error { return errNotBuilt }

// Close ends the appending: it syncs what was appended, and Run returns when all of that is
// acknowledged. It goes on trying as Sync does. It may be called again.
func (s *Spool) Close(ctx context.Context) error { return errNotBuilt }

// Run sends the segments to out until ctx ends, or until the spool is closed and all of it
// is acknowledged: then it returns nil.
func (s *Spool) Run(ctx context.Context, out wire.Appender) error { return errNotBuilt }

// Welcome tells the spool what a collector answered at the start of a session, and the most
// text that a batch may have in it. Nothing is sent before the first one.
func (s *Spool) Welcome(w wire.Welcome, maxText int) {}

// Known is a welcome with what the spool remembers of the log, for a way out that may be gone
// while no collector answers.
func (s *Spool) Known() wire.Welcome { return wire.Welcome{} }

// Status is the state of a spool at one moment.
type Status struct {
	Dir      string    `json:"dir"`
	Source   string    `json:"source"`
	Segments int       `json:"segments"`
	Size     int64     `json:"size"`              // bytes of the segments
	Behind   int64     `json:"behind"`            // bytes that are not acknowledged
	Oldest   time.Time `json:"oldest,omitzero"`   // when the first line that is not acknowledged arrived
	Full     bool      `json:"full,omitempty"`    // Append waits for room
	Trouble  string    `json:"trouble,omitempty"` // why nothing is written, or nothing is sent
}

// Status returns the state now.
func (s *Spool) Status() Status { return Status{Dir: s.Dir, Source: s.Source} }

// Counts are the spool's counters by name, since it was opened: lines and bytes taken and
// acknowledged, lines and bytes dropped, bytes that were damaged.
func (s *Spool) Counts() map[string]uint64 { return nil }
