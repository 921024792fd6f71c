package collector

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink/depot"
)

// archiver copies closed files to another place.
type archiver struct {
	*depot.Copier
	keep *keeper // of a partition; nil: the log is of none
	stop func()
}

// prepareArchive makes the copier, which the sink asks before it removes a file.
func (c *server) prepareArchive() error {
	t := c.settings.Collector.Archive
	if t == nil {
		return nil
	}
	p, err := t.tlsPlace(c.log)
	var copier *depot.Copier
	if err == nil {
		copier, err = depot.New(c.sink, c.settings.state(), p, t.Check == "size", c.log)
	}
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("collector.archive: %w", err)}
	}
	c.archive = &archiver{Copier: copier, stop: func() {}}
	return nil
}

// ofPartition has the stream keep the messages of a partition until they are in the archive.
func (a *archiver) ofPartition(c *member, s *server) error {
	if a == nil {
		return nil
	}
	place, err := s.settings.Collector.Archive.tlsPlace(s.log)
	if err != nil {
		return err
	}
	k := newKeeper(s.sink, s.partition.own, s.log)
	if k.depot, err = depot.Open(place); err != nil {
		return err
	}
	k.conn, k.name, k.copier = c.conn, c.Name, a.Copier
	a.keep, s.partition.keep, a.Marks = k, k, k.path
	s.sink.OnClose(k.closing)
	return nil
}

// begin copies what is closed, and what will be. The log is open.
func (a *archiver) begin() {
	if a == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) }) // ends by end
	if a.keep != nil {
		running.Go(func() { a.keep.run(ctx) }) // ends by end
	}
	a.stop = func() {
		stop()
		running.Wait()
	}
}

// end ends the copying. A copy that is not complete begins again after the next start.
func (a *archiver) end() {
	if a != nil {
		a.stop()
	}
}

// reason is why files are not copied; "": they are.
func (a *archiver) reason() string {
	if a == nil {
		return ""
	}
	return a.Status().Trouble
}

func printArchive(w io.Writer, a *depot.Status) {
	escape.Fprintf(w, "archive %s: files=%d waiting=%d (%d bytes) unarchived=%d\n", a.To, a.Files, a.Waiting, a.Lag,
		a.Expired)
	if a.Waiting > 0 {
		escape.Fprintf(w, "the oldest file that is not in the archive was closed at %s\n", a.Since.Format(time.RFC3339))
	}
	if a.Trouble != "" {
		escape.Fprintf(w, "archive IN TROUBLE: %s\n", a.Trouble)
	}
}
