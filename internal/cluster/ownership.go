package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
	"fanin/sink"
)

// Ownership is a member's right to write the log of a partition, from its claim on.
type Ownership struct {
	Partition int
	Epoch     uint64

	// By which agents know the partition as a log, whatever its owner. They change when the journal
	// is made anew: then it is not known how far the streams are.
	Log, Incarnation wire.StreamID

	lease  *lease
	owns   func(context.Context) error // asks the bucket
	begun  func()                      // is called when the tenure has begun; may be nil
	lost   func()                      // is called when another owner is known; may be nil
	fenced atomic.Bool
	known  atomic.Pointer[string] // see At

	mu      sync.Mutex               // of what follows
	tenure  bool                     // it has begun
	all     func() []sink.StreamMark // the marks of all streams of the log
	moved   map[wire.StreamID]bool   // streams of which the log may have more than the journal
	looked  time.Time                // when the journal was looked at without a reason
	journal *journal
	state   *State
}

// Lost reports whether it is known that another collector owns the partition now.
func (o *Ownership) Lost() bool { return o.fenced.Load() }

// Check returns why the next group may not be committed. While the lease lasts, it asks nothing.
// When the lease has run out (the process was paused, or is cut off), it asks the bucket first.
func (o *Ownership) Check(ctx context.Context) error {
	if o.fenced.Load() {
		return fmt.Errorf("partition %d: %w", o.Partition, ErrFenced)
	}
	if o.lease.holds() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return o.note(o.owns(ctx))
}

// note remembers that another collector owns the partition.
func (o *Ownership) note(err error) error {
	if errors.Is(err, ErrFenced) {
		o.fenced.Store(true)
		if o.lost != nil {
			o.lost()
		}
	}
	if err != nil {
		return fmt.Errorf("partition %d: %w", o.Partition, err)
	}
	return nil
}

// Resumes reports whether a log was the partition's last one, and has all that the journal says.
// Then what the log has is true; complete: the journal has it all. Otherwise it adopts Marks.
func (o *Ownership) Resumes(log string, at sink.Position) (resumes, complete bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state.Log == "" {
		return true, false // it is the first log, or the journal was removed
	}
	last, err := sink.ParsePosition(o.state.At)
	resumes = log == o.state.Log && err == nil && at.Compare(last) >= 0
	return resumes, at == last
}

// Marks are where the streams of the partition are.
func (o *Ownership) Marks() []sink.StreamMark {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state.Marks()
}

// Begin begins the tenure of a log, at its end. all are the marks that the log has, also later;
// more: it may have more of them than the journal has.
func (o *Ownership) Begin(ctx context.Context, log string, at sink.Position, all func() []sink.StreamMark,
	more bool) error {
	if err := o.begin(ctx, log, at, all, more); err != nil {
		return err
	}
	if o.begun != nil {
		o.begun()
	}
	return nil
}

func (o *Ownership) begin(ctx context.Context, log string, at sink.Position, all func() []sink.StreamMark,
	more bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = all
	e := &entry{Kind: kindBegin, Log: log, At: at.String(), More: more}
	if more {
		e.Marks = o.state.differing(all())
	}
	o.state.marks = nil // the log has them
	err := o.write(ctx, e, at)
	if o.tenure = err == nil; o.tenure {
		o.showAt()
	}
	return err
}

// Begun reports whether the tenure has begun.
func (o *Ownership) Begun() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tenure
}

// Moves notes streams that are about to be moved. What the log then has of them is in the tenure with
// the next Commit, also if the group of which they are fails: so their marks are in that Commit.
func (o *Ownership) Moves(streams []wire.StreamID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.moved == nil {
		o.moved = make(map[wire.StreamID]bool)
	}
	for _, id := range streams {
		o.moved[id] = true
	}
}

// Commit makes it known that the log has all messages up to last. at is its position. marks are
// where the streams are that were moved since the last Commit.
func (o *Ownership) Commit(ctx context.Context, last Message, at sink.Position,
	marks func(moved []wire.StreamID) []sink.StreamMark) error {
	if err := o.commit(ctx, last, at, marks); err != nil {
		return err
	}
	// The journal may have lost another owner's claim, and taken our entry for it. What the lease or
	// the bucket says now was so when the entry was written.
	err := o.Check(ctx)
	if err == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.showAt()
	}
	return err
}

// showAt lets At return what the journal has.
func (o *Ownership) showAt() {
	at := o.state.At
	o.known.Store(&at)
}

func (o *Ownership) commit(ctx context.Context, last Message, at sink.Position,
	marks func(moved []wire.StreamID) []sink.StreamMark) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	moved := marks(slices.Collect(maps.Keys(o.moved)))
	e := &entry{Kind: kindCommit, Last: last.Number, Time: last.Time, At: at.String(), Marks: moved}
	if err := o.write(ctx, e, at); err != nil {
		return err
	}
	clear(o.moved)
	if !o.journal.full() {
		return nil
	}
	return o.rewrite(ctx)
}

// lookEvery is how often an owner looks at its journal that writes nothing: NATS may have lost its end.
const lookEvery = 10 * time.Second

// Behind reports, while nothing is on its way, whether the journal does not have what the log has at its
// end, such as a notice. Then a Commit is due.
func (o *Ownership) Behind(ctx context.Context, end sink.Position) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state.At != end.String() {
		return true
	}
	if now := time.Now(); now.Sub(o.looked) > lookEvery {
		o.looked = now
		_, err := o.journal.look(ctx, nil)
		o.note(err)
		return errors.Is(err, errLost)
	}
	return false
}

// release hands the partition over: the log has ended at a position. A part of a group that failed
// is not in the tenure: the next owner writes all of the group.
func (o *Ownership) release(ctx context.Context, at sink.Position) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := &entry{Kind: kindRelease, At: at.String()}
	if len(o.moved) > 0 {
		e.At = o.state.At
	}
	err := o.write(ctx, e, at)
	if err == nil && o.tenure {
		o.showAt()
	}
	return err
}

// Recovered makes it known that the lines of an earlier tenure are in the logs of others, which have its
// epoch: its own log was lost.
func (o *Ownership) Recovered(ctx context.Context, lost Tenure, by []Tenure) error {
	o.mu.Lock()
	i := slices.Index(o.state.Tenures, lost)
	if i < 0 {
		o.mu.Unlock()
		return fmt.Errorf("partition %d: its tenures have changed meanwhile", o.Partition)
	}
	list := slices.Replace(slices.Clone(o.state.Tenures), i, i+1, by...)
	e := &entry{Kind: kindTenures, Tenures: list}
	err := o.journal.append(ctx, e)
	if err == nil {
		o.state.move(e)
	}
	err = o.note(err) // a journal that has lost its end is written anew with the next commit
	o.mu.Unlock()
	if err == nil && o.begun != nil {
		o.begun()
	}
	return err
}

// write writes an entry of a log that is at a position, and applies it. If the journal has lost its
// end, it is written anew, with what the entry says.
func (o *Ownership) write(ctx context.Context, e *entry, at sink.Position) error {
	err := o.journal.append(ctx, e)
	if errors.Is(err, errLost) {
		if err = o.stillOurs(ctx); err == nil {
			e.At = at.String() // there the log has all marks
			o.state.move(e)
			return o.rewrite(ctx)
		}
	}
	if err == nil {
		o.state.move(e)
	}
	return o.note(err)
}

// rewrite writes the journal anew.
func (o *Ownership) rewrite(ctx context.Context) error {
	for {
		err := o.journal.rewrite(ctx, o.state, o.all())
		if errors.Is(err, errLost) {
			err = o.stillOurs(ctx)
			if err == nil {
				continue
			}
		}
		return o.note(err)
	}
}

// stillOurs asks the bucket until it says whose the partition is. The journal does not say it: it has
// lost entries, and another owner's claim may be one of them.
func (o *Ownership) stillOurs(ctx context.Context) error {
	backoff := retry.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		within, cancel := context.WithTimeout(ctx, answerWithin)
		err := o.owns(within)
		cancel()
		if o.fenced.Load() {
			return ErrFenced
		}
		if err == nil || errors.Is(err, ErrFenced) {
			return err
		}
		if ctx.Err() == nil { // else it is not tried again
			o.journal.late(err)
		}
		if backoff.Wait(ctx) != nil {
			return err
		}
	}
}

// Tenures are all of the partition.
func (o *Ownership) Tenures() []Tenure {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.state.Tenures)
}

// Last is the last message that the log has.
func (o *Ownership) Last() Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Message{o.state.Last, o.state.Time}
}

// Message is a message of the stream: its number, and when the stream got it, in nanoseconds since 1970.
type Message struct{ Number, Time uint64 }
