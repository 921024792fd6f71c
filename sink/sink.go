// Package sink keeps lines: one writer puts batches into a write-ahead log,
// acknowledges them, and lays them out in one rotated file.
package sink

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// Sink is the one writer of a log. Set the fields, Open it, Append to it from
// any number of goroutines, Close it. Zero fields take the defaults named.
type Sink struct {
	Path   string // the log's live file; required
	State  string // directory of the write-ahead log and all else; default: .NAME.fanin beside Path
	Format string // "syslog" (default), "json", "raw"
	Sync   string // "commit" (default): acknowledged lines survive a power cut; "none": kill -9 only

	RotateSize  int64         // rotate before the file grows beyond this many bytes; default 256 MiB; < 0 never
	RotateEvery time.Duration // rotate a file with lines in it after this long; 0 never
	RotateAt    time.Duration // with RotateEvery: at this time after midnight UTC, and every RotateEvery from there
	RotateAtSet bool          // whether RotateAt is meant (midnight is 0)
	KeepFiles   int           // rotated files to keep; 0 all
	KeepAge     time.Duration // remove rotated files whose last line is older; 0 never
	KeepBytes   int64         // bytes of live and rotated files to keep; default 10 GiB; < 0 no bound
	Compress    string        // "gzip" (default), "none"

	Mode    fs.FileMode // of the log's files; default 0640
	DirMode fs.FileMode // of directories that Open makes; default 0750

	Host  string       // the host that the log's own notices name; default: host name
	Log   *slog.Logger // default: discard
	Alive func()       // called by the writer itself, at least once a second while it can work
	Disk  *disk.Disk   // nil: the real one
}

// Rotation says what a rotation did.
type Rotation struct {
	Generation uint64 `json:"generation"` // the one that was closed
	Name       string `json:"name"`       // its backup's base name; empty when there was nothing to rotate
	Size       int64  `json:"size"`
}

// Generation is one file of the log, in the order the lines were kept.
type Generation struct {
	Number uint64    `json:"generation"`
	Name   string    `json:"name"`  // base name, beside the live file; empty: gone or moved away by somebody
	Size   int64     `json:"size"`  // bytes of text, before compression
	State  string    `json:"state"` // "live", "plain", "gzip", "removed", "lost"
	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"`
}

// Status is the log as it stands, for people and for metrics.
type Status struct {
	Path        string       `json:"path"`
	State       string       `json:"state"`
	Log         string       `json:"log"`
	Incarnation string       `json:"incarnation"`
	Sync        string       `json:"sync"`
	Format      string       `json:"format"`
	Healthy     bool         `json:"healthy"`           // taking batches now
	Trouble     string       `json:"trouble,omitempty"` // why not, and the remedy
	Generation  uint64       `json:"generation"`
	Size        int64        `json:"size"` // of the live file
	Lines       uint64       `json:"lines"`
	Bytes       uint64       `json:"bytes"`
	Commits     uint64       `json:"commits"`
	Streams     int          `json:"streams"`
	Generations []Generation `json:"generations"`
}

var _ wire.Appender = (*Sink)(nil)

// Open locks the log, repeats what a crash left undone, makes that durable and
// starts the writer. Only when it returned nil may anybody be told anything.
// ctx bounds the opening alone.
func (s *Sink) Open(ctx context.Context) error { panic("not yet") }

// Append commits b: after nil, its lines are in the write-ahead log for good and
// on their way into the file. See wire.Appender.
func (s *Sink) Append(ctx context.Context, b wire.Batch) error { panic("not yet") }

// Welcome is what to tell an agent that connects.
func (s *Sink) Welcome(agent string) wire.Welcome { panic("not yet") }

// Notice puts a line of the log's own (source "fanin") into the log, on stderr
// through Log at level Warn, and counts it. It does not wait.
func (s *Sink) Notice(format string, args ...any) { panic("not yet") }

// Rotate closes the live file and begins a new one, unless it is empty.
func (s *Sink) Rotate(ctx context.Context) (Rotation, error) { panic("not yet") }

// Reopen looks whether Path still names the file that is written to, and begins
// a new file there if not.
func (s *Sink) Reopen(ctx context.Context) error { panic("not yet") }

// Status never waits for the writer.
func (s *Sink) Status() Status { panic("not yet") }

// Err is closed over by Failed: what ended the writer.
func (s *Sink) Err() error { panic("not yet") }

// Failed is closed when the writer ended by itself after a failed sync or write
// of the write-ahead log: the process must exit non-zero and start again.
func (s *Sink) Failed() <-chan struct{} { panic("not yet") }

// Close commits what was taken, checkpoints and ends the writer. Append then
// returns wire.ErrDraining.
func (s *Sink) Close(ctx context.Context) error { panic("not yet") }
