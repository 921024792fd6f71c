package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// Appender takes batches over. Append returning nil is the ack: the batch is
// kept at least as safely as the implementation's documentation says, and the
// caller may forget it. Otherwise the caller still has it:
//
//   - *Expected: the keeper stands elsewhere in the stream; go on from there.
//   - ErrRefused: this batch will never be taken; why is in the error's text.
//   - any other error: the outcome is unknown. A batch with a stream may be
//     given again, and is kept once; an anonymous batch may be kept already.
//
// Append may be called from many goroutines, but for one stream by one at a
// time. It keeps no reference to b.Text, b.Cuts and b.Marks after it returned.
//
// A batch with OpOpen asks where the keeper stands: nil means exactly there.
type Appender interface {
	Append(ctx context.Context, b Batch) error
}

// ErrRefused is matched by errors that no retry will mend.
var ErrRefused = errors.New("refused")

// Refused is an ErrRefused with its reason.
type Refused struct{ Reason string }

func (e *Refused) Error() string        { return "refused: " + e.Reason }
func (e *Refused) Is(target error) bool { return target == ErrRefused }

// Expected says where the keeper stands. Not Known: it has never heard of the
// stream, or has forgotten it at the agent's word.
type Expected struct {
	Known bool
	Watermark
}

func (e *Expected) Error() string {
	if !e.Known {
		return "stream unknown: open it first"
	}
	return fmt.Sprintf("stream stands at epoch %d, offset %d", e.Epoch, e.Offset)
}

// ErrDraining is returned by a keeper that is shutting down: come back later.
var ErrDraining = errors.New("shutting down")

// Check says what makes b unfit for any keeper, as an ErrRefused. It does not
// look at every line: that Text ends in a newline is all a keeper relies on.
func (b *Batch) Check() error {
	switch {
	case b.Op > OpEnd:
		return &Refused{fmt.Sprintf("unknown operation %d", b.Op)}
	case b.Op != OpData && b.Stream.IsZero():
		return &Refused{"open, skip and end need a stream"}
	case b.Op != OpData && len(b.Text)+len(b.Marks) > 0:
		return &Refused{"open, skip and end carry no text"}
	case b.Offset < 0 || b.End < b.Offset:
		return &Refused{fmt.Sprintf("offsets %d to %d run backwards", b.Offset, b.End)}
	case b.FirstLine < 0:
		return &Refused{fmt.Sprintf("%d lines came before", b.FirstLine)}
	case b.Op == OpData && !b.Stream.IsZero() && b.End == b.Offset:
		return &Refused{"text that covers no bytes of its stream: a repeat could not be told from a new batch"}
	case (b.Op == OpOpen || b.Op == OpEnd) && b.End != b.Offset:
		return &Refused{"open and end cover no bytes"}
	case len(b.Agent) > MaxName || len(b.Host) > MaxName || len(b.Source) > MaxName || len(b.Reason) > MaxName:
		return &Refused{fmt.Sprintf("a name is longer than %d bytes", MaxName)}
	case b.Source == SourceNotice:
		return &Refused{fmt.Sprintf("the source %q is the collector's own", SourceNotice)}
	case len(b.Identity) > MaxIdentity:
		return &Refused{fmt.Sprintf("an identity is longer than %d bytes", MaxIdentity)}
	}
	return cmp.Or(b.checkKey(), b.checkExtensions(), b.checkText())
}

func (b *Batch) checkText() error {
	if len(b.Text) == 0 {
		if b.Op == OpData && len(b.Extensions) == 0 {
			return &Refused{"a batch without text"}
		}
		if len(b.Cuts)+len(b.Marks) > 0 {
			return &Refused{"cuts and marks without text"}
		}
		return nil
	}
	if n := len(b.Text) + b.labelBytes(); n > MaxText {
		return &Refused{fmt.Sprintf("%d bytes of text and labels, at most %d", n, MaxText)}
	}
	if b.Text[len(b.Text)-1] != '\n' {
		return &Refused{"the text does not end in a newline"}
	}
	if err := b.checkCuts(); err != nil {
		return err
	}
	return b.checkMarks()
}

// checkMarks: each mark begins a line, and its labels are fit for the log.
func (b *Batch) checkMarks() error {
	if len(b.Marks) > MaxMarks {
		return &Refused{fmt.Sprintf("%d marks in one batch, at most %d", len(b.Marks), MaxMarks)}
	}
	at := -1
	for i := range b.Marks {
		m := &b.Marks[i]
		if m.Text <= at || m.Text >= len(b.Text) || m.Text > 0 && b.Text[m.Text-1] != '\n' {
			return &Refused{fmt.Sprintf("the mark at byte %d of the text is not the beginning of a line, in order", m.Text)}
		}
		if err := m.Labels.check(); err != nil {
			return err
		}
		at = m.Text
	}
	return nil
}

// checkCuts: after a crash the stream may stand at any cut, so each must be a
// place of its own, apart from both ends too.
func (b *Batch) checkCuts() error {
	at, end := 0, b.Offset
	for _, c := range b.Cuts {
		if c.Text <= at || c.Text >= len(b.Text) || b.Text[c.Text-1] != '\n' {
			return &Refused{fmt.Sprintf("the cut at byte %d of the text is not a line end in order", c.Text)}
		}
		if !b.Stream.IsZero() && (c.End <= end || c.End >= b.End) {
			return &Refused{fmt.Sprintf("the cut at offset %d does not lie between those around it", c.End)}
		}
		at, end = c.Text, c.End
	}
	return nil
}

// SourceNotice is the source of the collector's own lines in the log; no
// input may use it.
const SourceNotice = "fanin"
