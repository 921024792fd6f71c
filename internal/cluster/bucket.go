package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket is the KV bucket of a cluster.
type bucket struct {
	kv jetstream.KeyValue
}

// openBucket finds the bucket, or makes it.
func openBucket(ctx context.Context, js jetstream.JetStream, c *Config) (*bucket, error) {
	kv, err := js.KeyValue(ctx, c.bucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) && c.Create {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: c.bucket(), History: 1,
			Replicas: c.Replicas, Description: "made by fanin-collector: the cluster " + c.Name})
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("the KV bucket %s of the cluster does not exist: set create = true: %w", c.bucket(),
			ErrConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("open the KV bucket %s: %w", c.bucket(), err)
	}
	return &bucket{kv}, checkBucket(ctx, js, c)
}

// put writes a record if its revision is the one given; 0: if there is none. It returns the new one.
func (b *bucket) put(ctx context.Context, key string, value any, revision uint64) (uint64, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if revision == 0 {
		return b.kv.Create(ctx, key, data)
	}
	return b.kv.Update(ctx, key, data, revision)
}

// set writes a record, whatever is there.
func (b *bucket) set(ctx context.Context, key string, value any) (uint64, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return b.kv.Put(ctx, key, data)
}

// show writes tenures, unless the record has later ones, or the same.
func (b *bucket) show(ctx context.Context, key string, list []Tenure) error {
	for {
		theirs, revision, err := b.tenures(ctx, key)
		if err != nil || slices.Equal(theirs, list) || Later(theirs, list) {
			return err
		}
		if _, err = b.put(ctx, key, list, revision); !isTaken(err) {
			return err
		}
	}
}

// tenures reads the record of tenures; the revision 0: there is none.
func (b *bucket) tenures(ctx context.Context, key string) (list []Tenure, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	e, err := b.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if json.Unmarshal(e.Value(), &list) != nil {
		list = nil // what cannot be read is replaced
	}
	return list, e.Revision(), nil
}

// owner reads the record of a partition's owner.
func (b *bucket) owner(ctx context.Context, key string) (r ownerRecord, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	e, err := b.kv.Get(ctx, key)
	if err != nil {
		return r, err
	}
	r.revision = e.Revision()
	json.Unmarshal(e.Value(), &r.owner) // what cannot be read names no owner
	return r, nil
}

// isGone reports whether an error means that the bucket was deleted.
func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) ||
		errors.Is(err, jetstream.ErrNoStreamResponse)
}
