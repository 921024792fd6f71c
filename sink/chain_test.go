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

// chained returns what appends batches together, and compares their outcomes and how many commits they took.
func chained(t *testing.T, s *Sink) func(name string, commits uint64, outcomes string, list ...wire.Batch) {
	return func(name string, commits uint64, outcomes string, list ...wire.Batch) {
		t.Helper()
		before := s.counts.commits.Load()
		var got []string
		for _, err := range appendTogether(s, list...) {
			switch e := new(wire.Expected); {
			case err == nil:
				got = append(got, "ack")
			case errors.As(err, &e):
				got = append(got, "expected")
			case errors.Is(err, wire.ErrRefused):
				got = append(got, "refused")
			default:
				t.Fatalf("%s: %v", name, err)
			}
		}
		if n := s.counts.commits.Load() - before; n != commits || strings.Join(got, " ") != outcomes {
			t.Errorf("%s: %v in %d commits, want %s in %d", name, got, n, outcomes, commits)
		}
	}
}

// TestChainInOneFrame: batches of a stream that follow each other share a commit. One that does not begin where
// the one before ends is compared with what is committed, as ever.
func TestChainInOneFrame(t *testing.T) {
	s := open(t, &Sink{Sync: syncCommit})
	src := newSource()
	src.send(t, s, "zero")
	together := chained(t, s)
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

// TestChainBehindCommit: what a batch follows in a group counts for that group alone.
func TestChainBehindCommit(t *testing.T) {
	s := open(t, &Sink{Sync: syncCommit})
	src := newSource()
	src.send(t, s, "zero")
	together := chained(t, s)
	one := src.batch("one")
	at := func(op wire.Op, from *wire.Batch, end int64, after wire.Hash) wire.Batch {
		return wire.Batch{Op: op, Stream: src.id, Epoch: 1, Agent: "a", Input: "agent", Offset: from.End, Before: from.After,
			End: end, After: after, Control: wire.Control{Reason: wire.SkipContinued}}
	}
	late := src.batch("late")
	skip := at(wire.OpSkip, &one, late.End, 7)
	together("its place was skipped", 2, "ack ack expected", one, skip, late)
	two := at(wire.OpData, &skip, skip.End+4, 8)
	two.Text = []byte("two\n")
	three := at(wire.OpData, &two, two.End+6, 9)
	three.Text = []byte("three\n")
	together("its stream has ended", 2, "ack ack expected", two, at(wire.OpEnd, &two, two.End, two.After), three)
	expectLines(t, s, "zero", "one", "two")
	verified(t, s)
}

// TestChainOfDivided: the batch before may go into several groups, or may be refused behind a cut.
func TestChainOfDivided(t *testing.T) {
	s := open(t, &Sink{Sync: syncCommit})
	src := newSource()
	src.send(t, s, "zero")
	together := chained(t, s)
	cut := func(b *wire.Batch, at ...int) {
		for _, n := range at {
			end := int(b.Offset) + n
			b.Cuts = append(b.Cuts, wire.Cut{Text: n, End: int64(end), After: wire.TailHash(src.text[:end])})
		}
	}
	line := strings.Repeat("x", wire.MaxCutText/2-1)
	var all []string
	var cuts []int
	for n := range 2*groupBytes/wire.MaxCutText + 1 {
		all = append(all, line)
		if n > 0 {
			cuts = append(cuts, n*wire.MaxCutText/2)
		}
	}
	divided := src.batch(all...)
	cut(&divided, cuts...)
	together("the first is divided", 2, "ack ack", divided, src.batch("behind it"))
	refused := src.batch("fits", line, line, "too much")
	cut(&refused, len("fits\n"))
	together("the first is refused behind its cut", 1, "refused expected", refused, src.batch("not there"))
	expectLines(t, s, append(append([]string{"zero"}, all...), "behind it", "fits")...)
	verified(t, s)
}
