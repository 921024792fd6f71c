package collector

import (
	"log/slog"
	"os"
	"sync"

	"fanin/internal/cluster"
	"fanin/internal/disk"
	"fanin/sink"
	"fanin/sink/depot"
)

// ends writes, for each file of a partition's log that is closed, where the streams were at its end.
type ends struct {
	sink *sink.Sink
	log  *slog.Logger

	mu     sync.Mutex
	at     sink.Position   // of what was made known
	last   cluster.Message // the log has all messages up to this one; zero: that is not known yet
	closed []closedFile
}

// closedFile is a file that was closed.
type closedFile struct {
	generation uint64
	last       cluster.Message // it and the files before have all messages up to this one
	written    chan struct{}   // closed when its marks are
}

// committed notes what was made known.
func (e *ends) committed(at sink.Position, last cluster.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at = at; last.Number > 0 {
		e.last = last
	}
}

// closing writes the marks at the end of a file. The log's writer calls it. A file that is closed before
// the log is where the partition is has none: its streams are where they were in an earlier tenure.
func (e *ends) closing(generation uint64, marks []sink.StreamMark) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := closedFile{generation, e.last, make(chan struct{})}
	e.closed = append(e.closed, f)
	if f.last.Number == 0 {
		close(f.written)
		return
	}
	go func() { // ends when they are written
		defer close(f.written)
		m := depot.Marks{Last: f.last.Number, Streams: marks}
		b, err := m.Encode()
		if err == nil {
			var d *disk.Disk
			err = d.WriteFile(e.sink.MarksPath(generation), b, 0o640)
		}
		if err != nil {
			e.log.Warn("where the streams are at the end of a file cannot be written: the stream keeps its messages "+
				"until the next file is in the archive", "generation", generation, "err", err)
		}
	}()
}

// path is where the marks at the end of a file are; "": there are none.
func (e *ends) path(generation uint64) string {
	e.mu.Lock()
	var written chan struct{}
	for _, f := range e.closed {
		if f.generation == generation {
			written = f.written
		}
	}
	e.mu.Unlock()
	if written != nil {
		<-written
	}
	path := e.sink.MarksPath(generation)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// archived returns the message up to which all are in closed files before a generation whose ends were
// made known; zero: none is known.
func (e *ends) archived(before uint64) (last cluster.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.closed) && e.closed[n].generation < min(before, e.at.Generation) {
		f := e.closed[n]
		<-f.written // long ago: it is in the archive
		if _, err := os.Stat(e.sink.MarksPath(f.generation)); err == nil {
			last = f.last
		}
		n++
	}
	e.closed = e.closed[n:]
	return last
}
