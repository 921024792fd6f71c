package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/retry"
	"fanin/sink"
)

// journal is the journal of one partition. It is used by one goroutine.
type journal struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	subject string
	reopen  func(context.Context) (jetstream.Stream, error) // finds the stream again, or makes it
	late    func(error)                                     // is told that an entry waits, and why
	long    func(error)                                     // is told that entries cannot be removed, and why

	epoch   uint64 // of the claim
	last    uint64 // the number of its last entry
	entries int    // since the marks were written
}

const (
	// compactAfter is how many entries a journal has until it is written anew.
	compactAfter = 200
	// marksPerEntry bounds an entry: a mark may have 1.6 KiB, and a message 1 MiB.
	marksPerEntry = 256
	// answerWithin bounds one request to the server.
	answerWithin = 3 * time.Second
)

// openJournals finds the stream with the journals of all partitions, or makes it.
func openJournals(ctx context.Context, js jetstream.JetStream, c *Config) (jetstream.Stream, error) {
	name := c.journal()
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && c.Create {
		stream, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"},
			Replicas: c.Replicas, Storage: jetstream.FileStorage, Description: "made by fanin-collector: the " +
				"journal of the cluster " + c.Name})
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("the stream %s with the journal of the cluster does not exist: set create = true: %w",
			name, ErrConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("open the journal %s: %w", name, err)
	}
	return stream, nil
}

func newJournal(js jetstream.JetStream, stream jetstream.Stream, c *Config, p int) *journal {
	return &journal{js: js, stream: stream, subject: fmt.Sprintf("%s.%d", c.journal(), p),
		late: func(error) {}, long: func(error) {},
		reopen: func(ctx context.Context) (jetstream.Stream, error) {
			ctx, cancel := context.WithTimeout(ctx, answerWithin)
			defer cancel()
			return openJournals(ctx, js, c)
		}}
}

// read reads all of it.
func (j *journal) read(ctx context.Context) (*State, error) {
	s := new(State)
	j.last, j.entries = 0, 0
	for {
		m, err := j.get(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return j.stream.GetMsg(ctx, j.last+1, jetstream.WithGetMsgSubject(j.subject))
		})
		if err != nil {
			return nil, fmt.Errorf("read the journal %s: %w", j.subject, err)
		}
		if m == nil {
			return s, nil
		}
		e, err := parseEntry(m.Data)
		if err != nil {
			return nil, fmt.Errorf("%s, message %d: %w", j.subject, m.Sequence, err)
		}
		s.apply(e)
		j.last = m.Sequence
		j.entries++
	}
}

// get asks for one message; nil: there is none.
func (j *journal) get(ctx context.Context, ask func(context.Context) (*jetstream.RawStreamMsg, error)) (
	*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	m, err := ask(ctx)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}

// claim writes that an owner begins, and returns what the journal has before that, which is final.
// The epoch is the revision of the owner's key in the bucket, or the next one where the journal has
// that already: then another owner came first, which owns returns, or the bucket was made anew.
func (j *journal) claim(ctx context.Context, revision uint64, owner string, owns func(context.Context) error) (
	*State, error) {
	for {
		s, err := j.read(ctx)
		if err != nil {
			return nil, err
		}
		if s.Epoch >= revision {
			if err := owns(ctx); err != nil {
				return nil, err
			}
		}
		j.epoch = max(revision, s.Epoch+1)
		e := &entry{Kind: kindClaim, Owner: owner}
		err = j.append(ctx, e)
		if err == nil {
			s.apply(e)
			return s, nil
		}
		if !errors.Is(err, ErrFenced) || ctx.Err() != nil {
			return nil, err
		}
		// The owner before wrote something meanwhile.
	}
}

// append writes an entry behind the last one. ErrFenced: another owner's entry is there. Any other
// error leaves open whether it was written; then it is written again, or the next one is.
func (j *journal) append(ctx context.Context, e *entry) error {
	e.Epoch = j.epoch
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write to the journal %s: %w", j.subject, err)
	}
	backoff := retry.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		err := j.publish(ctx, data)
		if err == nil {
			return nil
		}
		written, lookErr := j.look(ctx, data)
		if written || errors.Is(lookErr, ErrFenced) {
			return lookErr
		}
		if lookErr != nil {
			j.late(j.find(ctx, lookErr))
		} else if !isTaken(err) {
			j.late(err)
		}
		if errors.Is(err, nats.ErrConnectionClosed) || backoff.Wait(ctx) != nil {
			return fmt.Errorf("write to the journal %s: %w", j.subject, err)
		}
	}
}

// find finds the stream again if it was deleted. It returns why an entry waits. What a stream has
// that was made anew shows the next look.
func (j *journal) find(ctx context.Context, err error) error {
	if !isGone(err) {
		return err
	}
	stream, openErr := j.reopen(ctx)
	if openErr != nil {
		return openErr
	}
	j.stream = stream
	return fmt.Errorf("the stream was deleted, and is there again: %w", err)
}

func (j *journal) publish(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	msg := nats.NewMsg(j.subject)
	msg.Data = data
	ack, err := j.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(j.last))
	if err != nil {
		return err
	}
	j.last = ack.Sequence
	j.entries++
	return nil
}

// look looks at the last entry after a publish without success: is it ours?
func (j *journal) look(ctx context.Context, data []byte) (written bool, err error) {
	m, err := j.get(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return j.stream.GetLastMsgForSubject(ctx, j.subject)
	})
	switch {
	case err != nil:
		return false, err
	case m == nil: // it was removed, with all that it had
		j.last, j.entries = 0, compactAfter
		return false, nil
	case bytes.Equal(m.Data, data):
		j.last = m.Sequence
		return true, nil
	case m.Sequence == j.last:
		return false, nil
	}
	e, err := parseEntry(m.Data)
	if err != nil {
		return false, err
	}
	if e.Epoch != j.epoch {
		return false, fmt.Errorf("an entry of epoch %d is behind that of epoch %d in %s: %w", e.Epoch, j.epoch,
			j.subject, ErrFenced)
	}
	if m.Sequence < j.last { // the server lost the end: all marks are written again
		j.entries = compactAfter
	}
	j.last = m.Sequence // ours, of which the acknowledgement was lost
	return false, nil
}

// full reports whether the journal should be written anew.
func (j *journal) full() bool { return j.entries >= compactAfter }

// compact writes the state and all marks, and removes the entries before.
func (j *journal) compact(ctx context.Context, s *State, marks []sink.StreamMark) error {
	first := entry{Kind: kindMarks, Owner: s.Owner, Log: s.Log, Last: s.Last, At: s.At, Tenures: s.Tenures}
	if err := j.append(ctx, &first); err != nil {
		return err
	}
	begin := j.last
	for part := range slices.Chunk(marks, marksPerEntry) {
		if err := j.append(ctx, &entry{Kind: kindMarks, Marks: part}); err != nil {
			return err
		}
	}
	j.entries = int(min(j.last-begin, compactAfter/2))
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := j.stream.Purge(within, jetstream.WithPurgeSubject(j.subject), jetstream.WithPurgeSequence(begin))
	if err != nil { // what is written is complete: the next time removes this, too
		j.long(err)
	}
	return nil
}
