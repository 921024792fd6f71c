package merge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"fanin/internal/retry"
	"fanin/sink"
	"fanin/sink/depot"
)

// Archived is the Source of a log whose files are in a depot. Nothing is added to them.
type Archived struct {
	Depot *depot.Depot
	Files depot.Log // at least one
}

// Format is that of the lines.
func (a *Archived) Format() string { return a.Files[0].Layout }

// Open begins to read, see Source.
func (a *Archived) Open(at sink.Position) Text {
	x := &archivedText{log: a, at: at}
	x.times = sink.NewTimes(a.Format(), func(generation uint64) (*os.File, error) {
		if i := a.find(generation); i < len(a.Files) && a.Files[i].Generation == generation {
			return a.Depot.Ledger(context.Background(), a.Files[i])
		}
		return nil, fs.ErrNotExist
	})
	return x
}

// find is the first file of a generation, or behind it.
func (a *Archived) find(generation uint64) int {
	i, _ := slices.BinarySearchFunc(a.Files, generation, func(m depot.Manifest, g uint64) int {
		return cmp.Compare(m.Generation, g)
	})
	return i
}

// End is where the log ends, see Source.
func (a *Archived) End(context.Context) (sink.Position, error) {
	return a.Files[len(a.Files)-1].End(), nil
}

// Since finds a time, see Source: the beginning of a file.
func (a *Archived) Since(ctx context.Context, t time.Time) (sink.Position, error) {
	for _, m := range a.Files {
		if !m.Closed.Before(t) {
			return sink.Position{Generation: m.Generation}, nil
		}
	}
	return a.End(ctx)
}

// archivedText reads the files of a log, one after the other.
type archivedText struct {
	log   *Archived
	at    sink.Position
	times *sink.Times
	text  io.ReadCloser // of the generation of at; nil: it is not open
	rest  []byte        // of it, behind the last line that was returned
	ended bool          // text is at its end
}

func (x *archivedText) At() sink.Position { return x.at }

func (x *archivedText) Spans(dst []sink.Span, text []byte, at sink.Position) ([]sink.Span, error) {
	return x.times.Spans(dst, text, at)
}

// Wait waits: nothing will come.
func (x *archivedText) Wait(ctx context.Context) error { return retry.Pause(ctx, time.Second) }

func (x *archivedText) Close() error {
	x.times.Close()
	switch text := x.text; {
	case text == nil:
		return nil
	case !x.ended:
		x.text, x.rest = nil, nil
		return depot.Abandon(text)
	}
	return x.leave()
}

// leave closes a file that was read to its end: then it must be what was copied.
func (x *archivedText) leave() error {
	text := x.text
	x.text, x.rest, x.ended = nil, nil, false
	return text.Close()
}

// Read returns the next whole lines, see Text.
func (x *archivedText) Read(ctx context.Context, buf []byte) (text []byte, at sink.Position, err error) {
	for {
		if x.text == nil {
			if open, err := x.open(ctx); !open || err != nil {
				return nil, x.at, err
			}
		}
		if text, err = x.lines(ctx, buf); len(text) > 0 || err != nil {
			at = x.at
			x.at.Offset += int64(len(text))
			return text, at, err
		}
		next := sink.Position{Generation: x.at.Generation + 1}
		if err := x.leave(); err != nil {
			return nil, x.at, err
		}
		x.at = next
	}
}

// open opens the file of the position; false: there is none any more.
func (x *archivedText) open(ctx context.Context) (bool, error) {
	i := x.log.find(x.at.Generation)
	if i == len(x.log.Files) {
		return false, nil
	}
	m := x.log.Files[i]
	if m.Generation > x.at.Generation {
		gone := &sink.GoneError{From: x.at, To: sink.Position{Generation: m.Generation}}
		if x.at = gone.To; gone.From != (sink.Position{}) {
			return false, gone
		}
	}
	text, err := x.log.Depot.Text(ctx, m)
	if err == nil {
		_, err = io.CopyN(io.Discard, text, min(x.at.Offset, m.TextBytes))
	}
	if err != nil {
		return false, fmt.Errorf("%s/%s/%s: %w", x.log.Depot, m.Log, m.File.Name, err)
	}
	x.text = text
	return true, nil
}

// lines reads whole lines; none: the file ends.
func (x *archivedText) lines(ctx context.Context, buf []byte) ([]byte, error) {
	n := copy(buf, x.rest)
	if n < len(x.rest) {
		buf = append(buf[:n:n], x.rest[n:]...)
		n = len(buf)
	}
	for x.rest = nil; ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, max(len(buf), 64<<10))...)
		}
		got, err := x.text.Read(buf[n:])
		n += got
		x.ended = errors.Is(err, io.EOF)
		if err != nil && !x.ended {
			return nil, err
		}
		end := bytes.LastIndexByte(buf[:n], '\n') + 1
		switch {
		case x.ended && n > end: // another program left the last line without its newline
			return append(buf[:n:n], '\n'), nil
		case x.ended, end > len(buf)/2:
			x.rest = bytes.Clone(buf[end:n])
			return buf[:end], nil
		}
	}
}
