package tail

import (
	"cmp"
	"log/slog"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// Settings configure a Tailer. Zero fields have the defaults that are named.
type Settings struct {
	Tables []Table
	State  string        // directory of the saved positions; required
	Out    wire.Appender // accepts the lines; required
	Agent  string        // the id under which Out sends: it owns the streams
	Lossy  bool          // Out answers nothing: do not wait for a Welcome, number the lines
	Log    *slog.Logger  // default: discard
	Alive  func()        // called at each look; makes the state directory again where it was deleted
	Disk   *disk.Disk    // nil: the real one

	MaxLine    int   // longer lines are split; default wire.MaxLine
	BatchBytes int   // of text in a batch; default 1 MiB
	Memory     int64 // for batches on their way; default 12 MiB
	Files      int   // open at a time; default what the process's limit leaves beside a reserve
	Follow     int   // followed at a time; default 25,000

	// Poll is the time between two looks at the files; default 250 ms.
	Poll time.Duration
	// Grace is how long a rotated file may still get lines, and its last line its end;
	// default 5 s.
	Grace time.Duration
	// LetGo is how long a renamed file that no table names is watched; default 10 min.
	LetGo time.Duration
	// Forget is how long a file must be missing from its directory until its stream
	// ends; default 24 h.
	Forget time.Duration
	// Settle is how long a file that begins like another one may be its copy in the
	// making; default 10 s.
	Settle time.Duration
	// Refused is the pause after a refusal, each time twice as long up to 64 times, and
	// until the next welcome at most; default 1 min.
	Refused time.Duration
	// StopWait is how long a stop waits for the rest of files that no start would find;
	// default 10 s.
	StopWait time.Duration
}

func (s *Settings) defaults() {
	s.Poll = cmp.Or(s.Poll, 250*time.Millisecond)
	s.Grace = cmp.Or(s.Grace, 5*time.Second)
	s.LetGo = cmp.Or(s.LetGo, 10*time.Minute)
	s.Forget = cmp.Or(s.Forget, 24*time.Hour)
	s.Settle = cmp.Or(s.Settle, 10*time.Second)
	s.Refused = cmp.Or(s.Refused, time.Minute)
	s.StopWait = cmp.Or(s.StopWait, 10*time.Second)
	s.MaxLine = cmp.Or(s.MaxLine, wire.MaxLine)
	s.BatchBytes = cmp.Or(s.BatchBytes, 1<<20)
	s.Memory = cmp.Or(s.Memory, 12<<20)
	s.Follow = cmp.Or(s.Follow, 25_000)
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
}
