package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
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
	claimed string // what is random in it: its entries are ours
	first   uint64 // the number of the first message of its last entry
	last    uint64 // and of the last one
	entries int    // messages since the marks were written
	lost    bool   // it lost entries of ours: nothing may follow before all marks are written
}

const (
	// compactAfter is how many messages a journal has until it is written anew.
	compactAfter = 200
	// mostPerMessage bounds the text of a message, and headerRoom is what its header needs.
	mostPerMessage, headerRoom = 1 << 20, 512
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
	return stream, checkKept(&stream.CachedInfo().Config, 0)
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
	s, whole := new(State), new(parts)
	j.last, j.entries, j.lost = 0, 0, false
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
		if err == nil {
			e, err = whole.add(e)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, message %d: %w", j.subject, m.Sequence, err)
		}
		if e != nil {
			s.apply(e)
		}
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
	j.claimed = strconv.FormatUint(rand.Uint64(), 36)
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
		if !errors.Is(err, ErrFenced) && !errors.Is(err, errLost) || ctx.Err() != nil {
			return nil, err
		}
		// The owner before wrote something meanwhile.
	}
}

// errLost is wrapped by errors of an entry that was not written, because the journal has lost what was
// before it.
var errLost = errors.New("the journal has lost entries")

// append writes an entry behind the last one. ErrFenced: another owner's entry is there. errLost: all
// marks must be written first. Any other error leaves open whether it was written; then it is
// written again, or the next one is.
func (j *journal) append(ctx context.Context, e *entry) error {
	e.Epoch, e.Claim = j.epoch, j.claimed
	list, err := e.messages(j.room())
	if err != nil {
		return fmt.Errorf("write to the journal %s: %w", j.subject, err)
	}
	if j.lost {
		return fmt.Errorf("%s: %w", j.subject, errLost)
	}
	for i, data := range list {
		if err := j.write(ctx, data); err != nil {
			return err
		}
		if i == 0 {
			j.first = j.last
		}
	}
	return nil
}

// room is how much text a message may have.
func (j *journal) room() int {
	most := min(mostPerMessage, int(j.js.Conn().MaxPayload()))
	if n := int(j.stream.CachedInfo().Config.MaxMsgSize); n > 0 {
		most = min(most, n)
	}
	return most - headerRoom
}

// write writes a message behind the last one.
func (j *journal) write(ctx context.Context, data []byte) error {
	backoff := retry.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		err := j.publish(ctx, data)
		if err == nil {
			return nil
		}
		written, lookErr := j.look(ctx, data)
		if written || errors.Is(lookErr, ErrFenced) || errors.Is(lookErr, errLost) {
			return lookErr
		}
		switch {
		case ctx.Err() != nil: // the tenure ends: it is not tried again
		case lookErr != nil:
			j.late(j.find(ctx, lookErr))
		case !isTaken(err):
			j.late(err)
		}
		if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) || backoff.Wait(ctx) != nil {
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

// look looks at the last message after a publish without success: is it ours?
func (j *journal) look(ctx context.Context, data []byte) (written bool, err error) {
	m, err := j.get(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return j.stream.GetLastMsgForSubject(ctx, j.subject)
	})
	switch {
	case err != nil:
		return false, err
	case m == nil: // it was removed, with all that it had
		return false, j.lose(0)
	case bytes.Equal(m.Data, data):
		j.last = m.Sequence
		return true, nil
	case m.Sequence == j.last:
		return false, nil
	}
	e, err := parseEntry(m.Data)
	switch {
	case err != nil:
		return false, err
	case e.Epoch > j.epoch:
		return false, fmt.Errorf("an entry of epoch %d is behind that of epoch %d in %s: %w", e.Epoch, j.epoch,
			j.subject, ErrFenced)
	case e.Claim != j.claimed, m.Sequence < j.last:
		return false, j.lose(m.Sequence)
	}
	j.last = m.Sequence // ours, of which the acknowledgement was lost
	return false, nil
}

// lose notes that the journal ends at a message, and that what was written behind it is lost. It may
// be another owner's message: one that had lost the partition to us, and found the place empty.
func (j *journal) lose(last uint64) error {
	j.last, j.lost = last, true
	return fmt.Errorf("%s ends at message %d: %w", j.subject, last, errLost)
}

// full reports whether the journal should be written anew.
func (j *journal) full() bool { return j.entries >= compactAfter }

// rewrite writes the state and all marks, and removes the entries before.
func (j *journal) rewrite(ctx context.Context, s *State, marks []sink.StreamMark) error {
	e := entry{Kind: kindMarks, Owner: s.Owner, Log: s.Log, Last: s.Last, Time: s.Time, At: s.At,
		Tenures: s.Tenures, Marks: marks}
	lost, entries := j.lost, j.entries
	j.lost = false
	if err := j.append(ctx, &e); err != nil {
		j.lost = j.lost || lost
		return err
	}
	j.entries = min(j.entries-entries, compactAfter/2)
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := j.stream.Purge(within, jetstream.WithPurgeSubject(j.subject), jetstream.WithPurgeSequence(j.first))
	if err != nil { // what is written is complete: the next time removes this, too
		j.long(err)
	}
	return nil
}
