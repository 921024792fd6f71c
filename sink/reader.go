package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Reader reads the log's lines from a position on, over rotations and into
// archives, and waits for more at the end. It holds one file open and never the
// writer up. One goroutine at a time may use it.
//
// The file holds committed bytes only and each of them for good, so a position
// is all that a reader has to remember to go on after a restart.
type Reader struct {
	s         *Sink
	at        Position
	validated bool            // at was reached by reading, so it is valid
	open      *openGeneration // nil: none
}

// openGeneration is a file of the log, open to be read: as it is, or unpacked.
type openGeneration struct {
	number uint64
	text   io.ReaderAt
	size   int64  // of its text
	inode  uint64 // of a plain file
	io.Closer
}

// GoneError reports that what is between two positions cannot be read any more:
// retention removed it, or another process did. Reading continues at To.
type GoneError struct{ From, To Position }

// Error describes the gap.
func (e *GoneError) Error() string {
	return fmt.Sprintf("the lines from position %s to %s are no longer there", e.From, e.To)
}

// ErrNoPosition is of a position that the log never had.
var ErrNoPosition = errors.New("no such position in this log")

// Reader begins at a position, which must be where a line begins. The zero
// position is that of the oldest line which is still there.
func (s *Sink) Reader(at Position) *Reader { return &Reader{s: s, at: at} }

// End is the position behind the last line that can be read now.
func (s *Sink) End() Position {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	return Position{s.view.catalog.live().number, s.view.size}
}

// At is where the next line is, or will be.
func (r *Reader) At() Position { return r.at }

// Seek sets the reader's position. A file that it has open stays open while the position
// is in it.
func (r *Reader) Seek(at Position) { r.at, r.validated = at, false }

// Close closes the file. The reader may still be used; it opens the file again.
func (r *Reader) Close() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}

// maxLaidOut is longer than any line that the layout can produce.
const maxLaidOut = 8 << 20

// Next reads as Read does, and waits until there is something.
func (r *Reader) Next(ctx context.Context, buf []byte) (text []byte, at Position, err error) {
	for {
		grown := r.s.Grown() // before the look, so that no change comes between
		text, at, err = r.Read(ctx, buf)
		if text != nil || err != nil {
			return text, at, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, r.at, ctx.Err()
		case <-r.s.queue.ended:
			return nil, r.at, errClosed
		}
	}
}

// Grown returns a channel that is closed when the log has grown, or has begun
// another file.
func (s *Sink) Grown() <-chan struct{} {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	if s.view.grown == nil {
		s.view.grown = make(chan struct{})
	}
	return s.view.grown
}

// Read returns the next whole lines and the position of the first; at the end
// of the log, nothing. They are in buf unless the first line is longer than that.
// After a *GoneError the reader is behind the gap. After any other error but
// ErrNoPosition, the call may be repeated.
func (r *Reader) Read(ctx context.Context, buf []byte) (text []byte, at Position, err error) {
	for {
		g, next, err := r.s.generationAt(r.at)
		if err != nil && !r.validated {
			return nil, r.at, err
		}
		if r.at.Generation == 0 {
			r.at.Generation = g.Number
		}
		r.validated = true
		if err != nil || g.Number != r.at.Generation || !g.readable() && !r.has(g.Number) {
			return nil, r.at, r.gap(g, next)
		}
		if err := r.enter(ctx, g); errors.Is(err, fs.ErrNotExist) && r.s.changed(g) {
			continue // compressed or removed just now
		} else if err != nil {
			return nil, r.at, r.missing(g, next, err)
		}
		text, n, err := r.lines(g, buf)
		if text != nil || err != nil {
			at := r.at
			r.at.Offset += n
			return text, at, err
		}
		if g.State == stateLive {
			return nil, r.at, nil
		}
		r.at = Position{next, 0}
	}
}

// missing returns the error for a file that cannot be opened, nil if it is to be waited
// for.
func (r *Reader) missing(g Generation, next uint64, err error) error {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case g.State == stateLive:
		return nil // being rotated, or missing until the writer notices
	}
	return r.gap(g, next)
}

// readable reports whether the generation's file can be opened.
func (g *Generation) readable() bool {
	return g.State == stateLive || g.State == statePlain || g.State == stateGzip
}

func (r *Reader) has(generation uint64) bool { return r.open != nil && r.open.number == generation }

// gap moves the reader behind what is gone. g is the first generation at or behind its
// position; next is 0 when there is none yet.
func (r *Reader) gap(g Generation, next uint64) error {
	e := &GoneError{From: r.at, To: Position{g.Number, 0}}
	if g.Number <= r.at.Generation && next > 0 {
		e.To.Generation = next
	}
	r.at = e.To
	return e
}

// generationAt is the first generation at or behind a position, its size as far
// as it may be read, and the number of the one after it. ErrNoPosition comes
// together with the generation at which to continue.
func (s *Sink) generationAt(at Position) (g Generation, next uint64, err error) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	all := s.view.catalog.generations
	i, last := 0, len(all)-1
	for i < last && all[i].number < at.Generation {
		i++
	}
	for at.Generation == 0 && i < last && (all[i].state == stateLost || all[i].state == stateRemoved) {
		i++ // the zero position means the oldest line that can be read
	}
	g = all[i].listed()
	if i == last {
		g.Size = s.view.size
	} else {
		next = all[i+1].number
	}
	if at.Generation > g.Number || at.Generation == g.Number && at.Offset > g.Size {
		return g, next, fmt.Errorf("%w: %s; generation %d ends at %d", ErrNoPosition, at, g.Number, g.Size)
	}
	return g, next, nil
}

// changed reports whether a generation is another file, or none, by now.
func (s *Sink) changed(g Generation) bool {
	if s.view.observed != nil {
		s.look(true) // on an error the file stays what it was
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, x := range s.view.catalog.generations {
		if x.number == g.Number {
			return x.state != g.State || x.name != g.Name
		}
	}
	return true
}

// enter opens g's file, unless it is open: a file stays what it is through its
// rotation, its compression and its removal.
func (r *Reader) enter(ctx context.Context, g Generation) error {
	if r.has(g.Number) {
		return nil
	}
	r.Close()
	open, err := r.s.openOwn(ctx, g)
	if errors.Is(err, fs.ErrNotExist) {
		open, err = r.s.openSibling(ctx, g, err)
	}
	if errors.Is(err, fs.ErrNotExist) { // it may have been packed and unpacked between the two looks
		open, err = r.s.openOwn(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("read generation %d: %w", g.Number, err)
	}
	r.open = open
	return nil
}

// openOwn opens the file that has a generation's name, if it is the generation's: others rotate files, too, and
// then another one has that name. A name that the log gave, with the time of the rotation, is never given again: a
// file of that name is a copy, or was packed and unpacked.
func (s *Sink) openOwn(ctx context.Context, g Generation) (*openGeneration, error) {
	o, err := s.openText(ctx, g)
	ours := g.State == statePlain && isBackup(s.Path, g.Name)
	switch {
	case err == nil && (g.State == stateGzip || s.isFile(g.Number, o.inode) || ours && o.size >= g.Size):
		return o, nil
	case err == nil:
		o.Close()
		err = fmt.Errorf("%s is another file: %w", filepath.Join(filepath.Dir(s.Path), g.Name), fs.ErrNotExist)
	}
	if errors.Is(err, fs.ErrNotExist) && g.State == statePlain && !ours {
		return s.openRenamed(ctx, g, err)
	}
	return nil, err
}

// openRenamed opens a file that another program rotated, as logrotate does, and has renamed since.
func (s *Sink) openRenamed(ctx context.Context, g Generation, missing error) (*openGeneration, error) {
	name, err := s.nameNow(g)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, missing
	}
	g.Name = name
	return s.openText(ctx, g)
}

// isFile reports whether a generation's file has this inode.
func (s *Sink) isFile(generation, inode uint64) bool {
	have, ok := s.inodeOf(generation)
	return ok && have == inode
}

// inodeOf is that of a generation's file.
func (s *Sink) inodeOf(generation uint64) (inode uint64, ok bool) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, x := range s.view.catalog.generations {
		if x.number == generation {
			return x.inode, true
		}
	}
	return 0, false
}

// lines reads whole lines at r.at, none when there are none yet, and returns how many
// bytes of the file they are. If another process left the last line of a closed file
// without its newline, one is added.
func (r *Reader) lines(g Generation, buf []byte) (text []byte, n int64, err error) {
	closed, left := g.State != stateLive, g.Size-r.at.Offset
	for {
		want := min(int64(len(buf))-1, left) // one byte is kept for a newline
		got, err := r.open.text.ReadAt(buf[:max(want, 0)], r.at.Offset)
		if err != nil && err != io.EOF {
			return nil, 0, fmt.Errorf("read generation %d at %d: %w", g.Number, r.at.Offset, err)
		}
		b := buf[:got]
		end := bytes.LastIndexByte(b, '\n') + 1
		switch {
		case end > 0:
			return b[:end], int64(end), nil
		case int64(got) < want: // truncated: the writer notices and closes the file
			return r.rest(b, closed)
		case want == left:
			return r.rest(b, closed)
		case want >= maxLaidOut:
			return nil, 0, fmt.Errorf("read generation %d at %d: no line ends within %d bytes: another process "+
				"changed that file", g.Number, r.at.Offset, got)
		}
		buf = make([]byte, 4*max(len(buf), 16<<10))
	}
}

// rest is what a file ends with behind its last newline.
func (r *Reader) rest(b []byte, closed bool) ([]byte, int64, error) {
	if !closed || len(b) == 0 {
		return nil, 0, nil
	}
	return append(b, '\n'), int64(len(b)), nil
}
