package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"
)

// sendAll sends what a reader adds to its buffer, until an error ends it.
func (j *Journal) sendAll(ctx context.Context, r *reader) (progressed bool, err error) {
	checked := false // since there was an entry
	for {
		patience := j.Quiet
		switch {
		case !r.anchored.Load():
			patience = j.AnswerWithin
		case !checked:
			patience = min(soon, j.Quiet)
		}
		w, err := r.out.take(ctx, patience)
		switch {
		case errors.Is(err, errSilent) && !r.anchored.Load():
			return progressed, errNoAnchor
		case errors.Is(err, errSilent):
			err = j.checkSilence(ctx, r.out)
			checked = true
		case err == nil:
			j.setWaits(w.begun)
			err = j.send(ctx, w)
			checked = false
			progressed = progressed || err == nil
		}
		if err != nil {
			return progressed, err
		}
	}
}

// soon is how long after an entry it is first checked whether journalctl has printed all there is:
// it may have looked at a file before the last entry in it was complete, and then waits for the next.
const soon = 5 * time.Second

// errBehind: journalctl does not print what is there. If it was printing just before, a new run
// does, and that is no fault.
var errBehind = errors.New("journalctl printed nothing, although there are new entries: it hangs")

// checkSilence returns nil if there is nothing that the run of journalctl should have printed.
func (j *Journal) checkSilence(ctx context.Context, out *buffer) error {
	heard := out.heard.Load()
	newest, err := j.newest(ctx)
	var unread map[sequenceID]uint64
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF): // an empty journal
		return nil
	case err != nil:
		return fmt.Errorf("%w for %v, and another run says: %w", errSilent, j.Quiet, err)
	case newest.number <= j.done[newest.id].number:
		if unread = j.unread(ctx); len(unread) == 0 {
			return nil
		}
	}
	for end := time.Now().Add(min(j.AnswerWithin, 2*time.Second)); out.heard.Load() == heard; {
		if time.Now().After(end) {
			maps.Copy(j.restarted, unread)
			return errBehind
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(j.AnswerWithin/10, 100*time.Millisecond)):
		}
	}
	return nil
}

// newest asks another run of journalctl for the latest entry.
func (j *Journal) newest(ctx context.Context) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, j.AnswerWithin)
	defer cancel()
	return newest(ctx, j.Directory)
}

// newest returns the latest entry of a journal; io.EOF: it has none.
func newest(ctx context.Context, directory string) (place, error) {
	args := []string{"--output=export", "--merge", "--lines=1", "--no-pager", "--quiet", "--output-fields=_PID"}
	if directory != "" {
		args = append(args, "--directory="+directory)
	}
	c, err := start(ctx, args)
	if err != nil {
		return place{}, err
	}
	defer context.AfterFunc(ctx, func() { c.out.Close() })()
	var e entry
	err = newParser(c.out, nil).next(&e)
	io.Copy(io.Discard, c.out) // until it ends by itself
	ended := c.cmd.Wait()
	switch text := c.errors.last(); {
	case err == nil:
		return e.place, nil
	case text != "":
		return place{}, fmt.Errorf("journalctl: %s", text)
	case ended != nil:
		return place{}, fmt.Errorf("journalctl: %w", ended)
	}
	return place{}, err
}

// send commits the entries of a window.
func (j *Journal) send(ctx context.Context, w *window) error {
	if err := j.commit(ctx, w); err != nil {
		for _, s := range j.streams {
			s.drop() // it is read again
		}
		return err
	}
	for i := range w.records {
		j.finish(&w.records[i])
	}
	j.ours, j.whole = true, false
	j.save(false)
	if j.setDone(j.last) {
		j.Log.Info("the journal is read again")
	}
	return nil
}

// inOrder is how often the sequence may change in a window so that the order of the entries
// holds between sequences too. Where entries of many alternate, as in a directory of many
// machines, only the order of each sequence is kept, and their batches are sent together.
const inOrder = 4

// commit sends the lines of a window.
func (j *Journal) commit(ctx context.Context, w *window) error {
	var last *stream
	changes := 0
	for i := range w.records {
		r := &w.records[i]
		if r.isPlain() {
			continue
		}
		s, err := j.stream(ctx, r.id)
		if err == nil && last != nil && s != last {
			if changes++; changes <= inOrder {
				err = last.flush(ctx)
			}
		}
		if err == nil {
			err = s.add(ctx, r)
		}
		if err != nil {
			return err
		}
		last = s
	}
	return j.flushAll(ctx)
}

// finish notes that nothing more of an entry is to be sent.
func (j *Journal) finish(r *record) {
	if r.short {
		j.counts.short.Add(1)
		j.limited.Warn("short", "a message in the journal is longer than fanin reads; its end was left out",
			"limit", maxMessage, "sequence", r.id, "number", r.number)
	}
	p := r.place
	j.last = p
	p.time = max(p.time, j.done[p.id].time)
	j.done[p.id] = p
}

// stream returns the stream of a sequence, and opens it if it is new.
func (j *Journal) stream(ctx context.Context, id sequenceID) (*stream, error) {
	s := j.streams[id]
	if s == nil {
		s = newStream(j, id)
		if err := s.decided(ctx, func() error { return s.open(ctx) }); err != nil {
			return nil, err
		}
		j.streams[id] = s
	}
	return s, nil
}

// maxInFlight is how many streams have a batch in flight.
const maxInFlight = 8

// flushAll commits the batches of all streams.
func (j *Journal) flushAll(ctx context.Context) error {
	var list []*stream
	for _, s := range j.streams {
		if !s.batch.Empty() {
			list = append(list, s)
		}
	}
	if len(list) == 1 {
		return list[0].flush(ctx)
	}
	errs := make([]error, len(list))
	slots := make(chan struct{}, maxInFlight)
	var all sync.WaitGroup
	for i, s := range list {
		slots <- struct{}{}
		all.Go(func() { // waited for below
			errs[i] = s.flush(ctx)
			<-slots
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
