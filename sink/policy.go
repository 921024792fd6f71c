package sink

import (
	"cmp"
	"context"
	"io/fs"
	"time"
)

// RotationPolicy says when the live file is rotated.
type RotationPolicy struct {
	Size  int64         // before the file grows beyond this many bytes; default 256 MiB; < 0 never
	Every time.Duration // a file with lines in it, after this long; 0 never
	At    time.Duration // with Every: at this time after midnight UTC, and every Every from there
	AtSet bool          // whether At is meant (midnight is 0)
}

// RetentionPolicy says which rotated files are kept, and in what form.
type RetentionPolicy struct {
	Files    int           // rotated files to keep; 0 all
	Age      time.Duration // remove rotated files whose last line is older; 0 never
	Bytes    int64         // bytes of live and rotated files to keep; default 10 GiB; < 0 no bound
	Compress string        // "gzip" (default), "none"

	// Files that Consumers still need are kept beyond the bounds above, up to HoldBytes
	// of the log in all and, if HoldAge is not 0, until HoldAge after their last line.
	HoldBytes int64
	HoldAge   time.Duration

	HoldRelay    int64         // as HoldBytes, for the relay
	HoldRelayAge time.Duration // as HoldAge, for the relay

	HoldArchive    int64         // as HoldBytes, for what copies files elsewhere
	HoldArchiveAge time.Duration // as HoldAge, for what copies files elsewhere

	AwaitConsumers bool // remove no file before SetConsumers was called
}

// Consumers are readers that must have every line before retention removes it.
type Consumers struct {
	// Needed returns the lowest position that one of them still needs, false if none
	// needs any. Files from there on are held as RetentionPolicy says. Nil: none.
	Needed func() (at Position, any bool)

	// Expire is called before g is removed, with the file that follows it. After an
	// error the removal is tried again later. Nil: no call.
	Expire func(ctx context.Context, g, next Generation) error

	// Looked is called after each look at the files: some may be closed, or compressed, by now.
	// It must not wait. Nil: no call.
	Looked func()
}

// SetConsumers registers the consumers of an open log. It is called once.
func (s *Sink) SetConsumers(c Consumers) {
	s.janitor.consumers.Store(&c)
	s.janitor.wakeUp()
}

// SetRelay registers the consumer that forwards the log, before the log is opened.
func (s *Sink) SetRelay(c Consumers) { s.relay = &c }

// SetArchive registers the consumer that copies closed files elsewhere, before the log is opened. The
// newest closed file is then compressed at once, too.
func (s *Sink) SetArchive(c Consumers) { s.archive = &c }

// LookAgain has retention look at the files soon: a consumer needs less than before.
func (s *Sink) LookAgain() { s.janitor.wakeUp() }

// Policies are what may change while a log is open. Zero fields take the same defaults as
// those of Sink.
type Policies struct {
	Rotation  RotationPolicy
	Retention RetentionPolicy
	Limits    Limits
}

// Use puts other policies into force. Rotated files that the new ones do not keep are removed soon
// after, also while the log waits for space. Rotation and limits change between two commits: Use
// waits for that as long as ctx allows.
func (s *Sink) Use(ctx context.Context, p Policies) error {
	p.defaults()
	s.janitor.retention.Store(&p.Retention)
	s.janitor.wakeUp()
	return s.do(ctx, func(w *writer) error {
		w.s.Rotation, w.s.Limits = p.Rotation, p.Limits
		return nil
	})
}

func (p *Policies) defaults() {
	p.Rotation.Size = cmp.Or(p.Rotation.Size, 256<<20)
	p.Retention.Bytes = cmp.Or(p.Retention.Bytes, 10<<30)
	p.Retention.Compress = cmp.Or(p.Retention.Compress, "gzip")
	p.Limits.defaults()
}

// FileModes are the permissions of what the log makes, whatever the umask is, and its size.
type FileModes struct {
	File fs.FileMode // of the log's files; default 0640
	Dir  fs.FileMode // of directories that Open makes; default 0750
	WAL  int64       // bytes of a new write-ahead log; default 64 MiB, with Sync "none" 8 MiB
}
