package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// settings are what all members have in common. The first one writes them.
type settings struct {
	Partitions    int    `json:"partitions"`
	Stream        string `json:"stream"`
	TakeoverAfter string `json:"takeover_after"`
}

func (c *Config) settings() settings { return settings{c.Partitions, c.Name, c.TakeoverAfter.String()} }

// agree compares the settings with those in the bucket. takeover_after may be changed while no other
// member lives: one with another value takes partitions over while their owner's lease lasts.
func (b *bucket) agree(ctx context.Context, c *Config) error {
	mine := c.settings()
	_, err := b.put(ctx, keyConfig, mine, 0)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("write the settings of the cluster: %w", err)
	}
	theirs, revision, err := b.settings(ctx)
	switch {
	case err != nil:
		return err
	case theirs == mine:
		return nil
	case theirs.Partitions != mine.Partitions || theirs.Stream != mine.Stream:
		return fmt.Errorf("the cluster in the bucket %s has partitions = %d and the stream %s, and this collector "+
			"wants partitions = %d and the stream %s: the number is fixed for the cluster's life; set it back, or "+
			"give the cluster another name: %w",
			b.kv.Bucket(), theirs.Partitions, theirs.Stream, mine.Partitions, mine.Stream,
			ErrConfig)
	}
	other, err := b.livingOther(ctx, c.ID, theirs.silence(c.TakeoverAfter))
	if err != nil {
		return err
	}
	if other != "" {
		return fmt.Errorf("the cluster in the bucket %s has takeover_after = %q, and this collector wants %q, while "+
			"the member %s lives: set it back, or stop all collectors, change it everywhere, and start them: %w",
			b.kv.Bucket(), theirs.TakeoverAfter, mine.TakeoverAfter, other, ErrConfig)
	}
	if _, err := b.put(ctx, keyConfig, mine, revision); err != nil {
		return fmt.Errorf("write the settings of the cluster: %w", err)
	}
	return nil
}

// settings reads the record of the settings.
func (b *bucket) settings(ctx context.Context) (s settings, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	e, err := b.kv.Get(ctx, keyConfig)
	if err != nil {
		return s, 0, fmt.Errorf("read the settings of the cluster: %w", err)
	}
	if err := json.Unmarshal(e.Value(), &s); err != nil {
		return s, 0, fmt.Errorf("the settings of the cluster in the bucket %s cannot be read (%v): another program "+
			"uses it: %w", b.kv.Bucket(), err, ErrConfig)
	}
	return s, e.Revision(), nil
}

// silence is how long a member with these settings says nothing: four times its beat.
func (s *settings) silence(ours time.Duration) time.Duration {
	theirs, err := time.ParseDuration(s.TakeoverAfter)
	if err != nil {
		theirs = ours // they are of an earlier release
	}
	return max(theirs/2, time.Second)
}

// livingOther waits so long for a sign of life of another member, if there is one, and returns its id.
func (b *bucket) livingOther(ctx context.Context, me string, wait time.Duration) (string, error) {
	watch, err := b.kv.Watch(ctx, keyMember+"*")
	if err != nil {
		return "", fmt.Errorf("watch the members of the cluster: %w", err)
	}
	defer watch.Stop()
	timeout := time.After(wait)
	for complete, some := false, false; !complete || some; {
		select {
		case e, ok := <-watch.Updates():
			if !ok {
				return "", errors.New("the watch of the cluster's members has ended")
			}
			if e == nil {
				complete = true
				continue
			}
			id := strings.TrimPrefix(e.Key(), keyMember)
			other := id != me && e.Operation() == jetstream.KeyValuePut
			if some = some || other; other && complete {
				return id, nil
			}
		case <-timeout:
			return "", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "", nil
}

// checkSettings refuses settings that another member has changed.
func (m *Member) checkSettings(e jetstream.KeyValueEntry) error {
	var theirs settings
	if json.Unmarshal(e.Value(), &theirs) != nil || theirs == m.settings() {
		return nil
	}
	return fmt.Errorf("another member has changed the settings of the cluster: takeover_after = %q, here %q; "+
		"partitions = %d, here %d: %w", theirs.TakeoverAfter, m.TakeoverAfter, theirs.Partitions, m.Partitions,
		ErrConfig)
}
