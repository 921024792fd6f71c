package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// Appender accepts batches. Append returning nil is the acknowledgement: the batch
// is kept at least as safely as the implementation documents, and the caller may
// forget it. On an error the caller keeps the batch:
//
//   - *Expected: the stream is at another position; continue from there.
//   - ErrRefused: this batch will never be accepted; the error's text says why.
//   - any other error: the outcome is unknown. A batch of a stream may be sent again,
//     and is kept once; an anonymous batch may have been kept already.
//
// Append may be called from many goroutines, but for one stream by one at a time, with one
// exception: an Appender that keeps the order of a stream's batches may call b.Next once it
// has b, and the caller may then append the batch that begins where b ends, before the
// outcome of b is known. That batch is accepted only if b was. At most MaxChain of one
// stream are on their way. Append retains no reference to b.Text, b.Cuts and b.Marks after
// it has returned.
//
// A batch with OpOpen asks for the stream's position: nil means exactly that of the
// batch.
type Appender interface {
	Append(ctx context.Context, b Batch) error
}

// ErrRefused is matched by errors that no retry can resolve.
var ErrRefused = errors.New("refused")

// Refused is an ErrRefused with its reason.
type Refused struct{ Reason string }

// Error is the reason.
func (e *Refused) Error() string { return "refused: " + e.Reason }

// Is makes e an ErrRefused.
func (e *Refused) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// Expected is the position of a stream. Not Known: the stream was never opened, or
// its agent has ended it.
type Expected struct {
	Known bool
	Watermark
}

// Error is the position.
func (e *Expected) Error() string {
	if !e.Known {
		return "stream unknown: open it first"
	}
	return fmt.Sprintf("the stream is at epoch %d, offset %d", e.Epoch, e.Offset)
}

// ErrDraining is returned during a shutdown: retry later.
var ErrDraining = errors.New("shutting down")

// Check returns why no Appender accepts b, as an ErrRefused. Every input calls it, so
// none can forget a rule. It does not look at every line: an Appender relies only on
// Text ending in a newline.
func (b *Batch) Check() error {
	return cmp.Or(b.checkOperation(), b.checkOffsets(), b.checkNames(),
		b.checkKey(), b.checkExtensions(), b.checkText())
}

func (b *Batch) checkOperation() error {
	switch {
	case b.Op > OpEnd:
		return refuse("unknown operation %d", b.Op)
	case b.Op == OpData:
		return nil
	case b.Stream.IsZero():
		return refuse("open, skip and end need a stream")
	case len(b.Text)+len(b.Marks) > 0:
		return refuse("open, skip and end carry no text")
	}
	return nil
}

func (b *Batch) checkOffsets() error {
	switch {
	case b.Offset < 0 || b.End < b.Offset:
		return refuse("the end %d is before the offset %d", b.End, b.Offset)
	case b.FirstLine < 0:
		return refuse("the number of earlier lines is %d", b.FirstLine)
	case b.Op == OpData && !b.Stream.IsZero() && b.End == b.Offset:
		return refuse("the text covers no bytes of its stream: a repeat could not be distinguished from a new batch")
	case (b.Op == OpOpen || b.Op == OpEnd) && b.End != b.Offset:
		return refuse("open and end cover no bytes")
	}
	return nil
}

func (b *Batch) checkNames() error {
	switch {
	case max(len(b.Agent), len(b.Host), len(b.Source), len(b.Reason)) > MaxName:
		return refuse("a name is longer than %d bytes", MaxName)
	case b.Source == SourceNotice:
		return refuse("the source %q is the collector's own", SourceNotice)
	case len(b.Identity) > MaxIdentity:
		return refuse("an identity is longer than %d bytes", MaxIdentity)
	}
	return nil
}

func (b *Batch) checkText() error {
	if len(b.Text) == 0 {
		if b.Op == OpData && len(b.Extensions) == 0 {
			return refuse("a batch without text")
		}
		if len(b.Cuts)+len(b.Marks) > 0 {
			return refuse("cuts and marks without text")
		}
		return nil
	}
	if n := len(b.Text) + b.LabelBytes(); n > MaxText {
		return refuse("%d bytes of text and labels, at most %d", n, MaxText)
	}
	if b.Text[len(b.Text)-1] != '\n' {
		return refuse("the text does not end in a newline")
	}
	return cmp.Or(b.checkCuts(), b.checkMarks())
}

// checkMarks: each mark is at the beginning of a line, and its labels fit the log.
func (b *Batch) checkMarks() error {
	if len(b.Marks) > MaxMarks {
		return refuse("%d marks in one batch, at most %d", len(b.Marks), MaxMarks)
	}
	at := -1
	for i := range b.Marks {
		m := &b.Marks[i]
		if m.Text <= at || m.Text >= len(b.Text) || m.Text > 0 && b.Text[m.Text-1] != '\n' {
			return refuse("the mark at byte %d of the text is out of order or not at the beginning of a line", m.Text)
		}
		check := m.Labels.check
		if b.Relayed {
			check = m.Labels.checkRelayed
		}
		if err := check(); err != nil {
			return err
		}
		at = m.Text
	}
	return nil
}

// checkCuts: after a crash the stream may be at any cut, so the position of each
// differs from all others, and from those of the batch's beginning and end.
func (b *Batch) checkCuts() error {
	at, end := 0, b.Offset
	for _, c := range b.Cuts {
		if c.Text <= at || c.Text >= len(b.Text) || b.Text[c.Text-1] != '\n' {
			return refuse("the cut at byte %d of the text is out of order or not at the end of a line", c.Text)
		}
		if !b.Stream.IsZero() && (c.End <= end || c.End >= b.End) {
			return refuse("the cut at offset %d is not between its neighbours", c.End)
		}
		at, end = c.Text, c.End
	}
	return nil
}

// SourceNotice is the source of the collector's own lines in the log. No input may
// use it.
const SourceNotice = "fanin"
