package sink

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// appendTogether appends batches, each as soon as the log has the one before: the writer finds all of them
// when it looks next. It returns their outcomes.
func appendTogether(s *Sink, list ...wire.Batch) []error {
	outcomes, has := make([]chan error, len(list)), make(chan struct{})
	var push func(i int)
	push = func(i int) {
		outcomes[i] = make(chan error, 1)
		b := list[i]
		b.Next = func() {
			if i+1 < len(list) {
				push(i + 1)
			} else {
				close(has)
			}
		}
		go func() { outcomes[i] <- s.Append(context.Background(), b) }() // ends with the outcome
	}
	err := s.do(context.Background(), func(*writer) error {
		push(0)
		<-has
		return nil
	})
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, o := range outcomes {
		errs = append(errs, <-o)
	}
	return errs
}

// TestChainInOneFrame: batches of a stream that follow each other share a commit. One that does not begin where
// the one before ends is compared with what is committed, as ever.
func TestChainInOneFrame(t *testing.T) {
	s := open(t, &Sink{Sync: syncCommit})
	src := newSource()
	src.send(t, s, "zero")
	together := func(name string, commits uint64, outcomes string, list ...wire.Batch) {
		t.Helper()
		before := s.counts.commits.Load()
		var got []string
		for _, err := range appendTogether(s, list...) {
			switch e := new(wire.Expected); {
			case err == nil:
				got = append(got, "ack")
			case errors.As(err, &e):
				got = append(got, "expected")
			default:
				t.Fatalf("%s: %v", name, err)
			}
		}
		if n := s.counts.commits.Load() - before; n != commits || strings.Join(got, " ") != outcomes {
			t.Errorf("%s: %v in %d commits, want %s in %d", name, got, n, outcomes, commits)
		}
	}
	text := src.text
	one, two, three := src.batch("one"), src.batch("two", "two and a half"), src.batch("three")
	src.text = text
	elsewhere, epoch := two, two
	elsewhere.Before++
	epoch.Epoch++
	together("the first does not fit", 0, "expected expected", two, three)
	together("both fit", 1, "ack ack", one, two)
	together("both are there", 0, "expected ack", one, two)
	together("a repeat, and one that fits", 1, "ack ack", two, three)
	src.text = slices.Concat(text, one.Text, two.Text, three.Text)
	four, five, six := src.batch("four"), src.batch("five"), src.batch("six")
	elsewhere, epoch = five, six
	elsewhere.Before++
	epoch.Epoch++
	together("the second is of another place", 1, "ack expected", four, elsewhere)
	together("the second is of another epoch", 1, "ack expected", five, epoch)
	skip := wire.Batch{Op: wire.OpSkip, Stream: src.id, Epoch: 1, Agent: "a", Offset: six.End,
		Before: six.After, End: six.End + 10, After: 7, Control: wire.Control{Reason: "test"}}
	seven := wire.Batch{Stream: src.id, Epoch: 1, Agent: "a", Input: "agent", Text: []byte("seven\n"), Offset: skip.End,
		Before: skip.After, End: skip.End + 6, After: 8}
	together("a skip is between", 3, "ack ack ack", six, skip, seven)
	expectLines(t, s, "zero", "one", "two", "two and a half", "three", "four", "five", "six", "seven")
	verified(t, s)
}
