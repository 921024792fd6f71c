package natsconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is a JetStream stream that lines go through.
type Stream struct {
	Name       string
	Subjects   []string
	Create     bool // make it if it is missing
	Replicas   int  // of a stream that is made
	Partitions int  // that it is divided into, see Partition; 0: none
	Keep       bool // of one with partitions: messages stay until they are purged
}

// Open finds the stream, or makes it if that is wanted; created reports that. It refuses
// a stream that would lose messages silently.
func (s *Stream) Open(ctx context.Context, js jetstream.JetStream) (stream jetstream.Stream, created bool, err error) {
	stream, err = js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && s.Create {
		if stream, err = js.CreateStream(ctx, s.config()); err != nil {
			return nil, false, fmt.Errorf("create the stream %s: %w", s.Name, err)
		}
		created = true
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, false, fmt.Errorf("the stream %s does not exist: set create = true, or run: "+
			"nats stream add %s --subjects=%q --discard=new --retention=work", s.Name, s.Name, s.Subjects)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return nil, false, fmt.Errorf("JetStream is not enabled on the server, or not for this user: "+
			"start nats-server with -js, or put jetstream {} into its configuration: %w", err)
	case err != nil:
		return nil, false, fmt.Errorf("look up the stream %s: %w", s.Name, err)
	}
	c := &stream.CachedInfo().Config
	return stream, created, cmp.Or(refuse(c), s.checkPartitions(c))
}

// config is a stream that rejects messages when it is full, and removes them when they
// are acknowledged, or purged.
func (s *Stream) config() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Name, Subjects: s.Subjects, Replicas: s.Replicas, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Description: "made by fanin-collector",
	}
	if s.Partitions > 0 {
		c.SubjectTransform = partitioning(s.Partitions)
		if s.Keep {
			c.Retention = jetstream.LimitsPolicy
		}
	}
	return c
}

// refuse returns why a stream may lose messages silently.
func refuse(c *jetstream.StreamConfig) error {
	bounded := c.MaxMsgs > 0 || c.MaxBytes > 0
	switch {
	case c.Discard == jetstream.DiscardOld && bounded:
		return fmt.Errorf("the stream %s silently drops its oldest messages when it is full: "+
			"nats stream edit %s --discard=new", c.Name, c.Name)
	case c.MaxMsgsPerSubject > 0 && !(c.Discard == jetstream.DiscardNew && c.DiscardNewPerSubject):
		return fmt.Errorf("the stream %s keeps %d messages of each subject and silently drops older ones: "+
			"nats stream edit %s --max-msgs-per-subject=-1", c.Name, c.MaxMsgsPerSubject, c.Name)
	case c.MaxAge > 0 && c.MaxAge < time.Hour:
		return fmt.Errorf("the stream %s silently drops messages that are %v old, even if they were not read: "+
			"nats stream edit %s --max-age=-1, or some days", c.Name, c.MaxAge, c.Name)
	}
	return nil
}

// NoStream reports whether the error of publishing a message means that no stream has its
// subject.
func NoStream(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}
