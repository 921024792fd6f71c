package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/wire"
)

// holding is a partition that a member owns, or is about to own.
type holding struct {
	partition int
	revision  atomic.Uint64 // of the owner's record; 0: it was not written yet
	own       atomic.Pointer[Ownership]
	bucket    *bucket // that has the record
	stop      context.CancelFunc
}

// release lets it end as planned: what was read is committed, and then it is handed over.
func (h *holding) release() { h.stop() }

// isOlder reports whether another process has written the owner's record since.
func (h *holding) isOlder(r ownerRecord, run string) bool {
	mine := h.revision.Load()
	return mine > 0 && r.revision > mine && r.Run != run
}

// lose ends it: another collector owns the partition.
func (h *holding) lose() {
	if o := h.own.Load(); o != nil {
		o.fenced.Store(true)
	}
	h.stop()
}

// take begins to hold a partition whose owner's record is r.
func (m *Member) take(p int, r ownerRecord) *holding {
	h := &holding{partition: p, bucket: m.bucket}
	var ctx context.Context
	ctx, h.stop = context.WithCancel(m.life)
	taken := r.Owner != "" && r.Owner != m.ID
	go func() { // ends with release or lose, or when the partition ends by itself
		defer h.stop()
		m.hold(ctx, h, r.revision, taken)
		m.ended <- h
	}()
	return h
}

// giveUp hands over a partition that the bucket says is ours, and that is not held.
func (m *Member) giveUp(p int, r ownerRecord) *holding {
	h := &holding{partition: p, bucket: m.bucket, stop: func() {}}
	h.revision.Store(r.revision)
	go func() { // ends with the answer
		m.giveBack(h)
		m.ended <- h
	}()
	return h
}

// hold claims a partition, serves it until ctx ends, and hands it over.
func (m *Member) hold(ctx context.Context, h *holding, before uint64, taken bool) {
	revision, err := m.store().put(m.life, m.ownerKey(h), owner{m.ID, m.run}, before)
	if err != nil {
		if !isTaken(err) && ctx.Err() == nil { // else the watch shows the owner
			m.cannotClaim(h, err)
		}
		pause(ctx, m.beat())
		return
	}
	h.revision.Store(revision)
	o, err := m.claim(ctx, h)
	if err == nil {
		h.own.Store(o)
		m.counts.claimed(taken)
		m.Log.Info("owns a partition", "partition", h.partition, "epoch", o.Epoch, "taken", taken)
		go m.keepShown(ctx, o) // ends with ctx, which ends with the holding
		err = m.serve(ctx, h, o)
	}
	switch {
	case errors.Is(err, ErrFenced):
		m.counts.fenced.Inc()
		m.Log.Warn("another collector owns the partition now: nothing more is written here, and what was not made "+
			"known is written there", "partition", h.partition, "error", err)
	case errors.Is(err, errNotClaimed):
		if ctx.Err() == nil {
			m.cannotClaim(h, err)
		}
		m.giveBack(h)
		pause(ctx, m.beat())
	case err != nil: // the others go on; another member may be able to serve it
		m.limited.Warn("cluster_partition", "a partition cannot be served here; trying again", "partition", h.partition,
			"error", err)
		m.giveBack(h)
		pause(ctx, m.TakeoverAfter/2)
	}
}

func (m *Member) cannotClaim(h *holding, err error) {
	m.limited.Warn("cluster_claim", "cannot claim a partition; trying again", "partition", h.partition, "error", err)
}

// store is the bucket as it was opened last.
func (m *Member) store() *bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bucket
}

// pause waits, so that what failed is not tried again at once.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (m *Member) ownerKey(h *holding) string { return fmt.Sprintf("%s%d", keyOwner, h.partition) }

// isTaken reports whether an error means that another member was first.
func isTaken(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
			api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// errNotClaimed is wrapped by errors of a claim that did not come into the journal.
var errNotClaimed = errors.New("the partition was not claimed")

// claim writes the claim into the journal.
func (m *Member) claim(ctx context.Context, h *holding) (*Ownership, error) {
	stream, err := openJournals(ctx, m.js, &m.Config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotClaimed, err)
	}
	o := &Ownership{Partition: h.partition, lease: m.lease, journal: newJournal(m.js, stream, &m.Config, h.partition)}
	o.journal.late = func(err error) {
		m.limited.Warn("cluster_journal", "an entry cannot be written to the journal of a partition: nothing of it is "+
			"answered or acknowledged meanwhile; trying again", "partition", h.partition, "error", err)
	}
	o.journal.long = func(err error) {
		m.limited.Warn("cluster_shorten", "the journal of a partition cannot be shortened; trying again with later "+
			"entries", "partition", h.partition, "error", err)
	}
	o.owns = func(ctx context.Context) error { return m.owns(ctx, h) }
	o.state, err = o.journal.claim(ctx, h.revision.Load(), m.ID, o.owns)
	if err != nil && !errors.Is(err, ErrFenced) {
		return nil, fmt.Errorf("%w: %w", errNotClaimed, err)
	}
	o.Epoch, o.lost = o.journal.epoch, h.stop
	o.Log, o.Incarnation = m.name(stream, "log", h.partition), m.name(stream, "incarnation", h.partition)
	o.begun = func() { m.announce(o) }
	return o, err
}

// name is an id of a partition, the same for all owners while the journal exists.
func (m *Member) name(journals jetstream.Stream, what string, p int) (id wire.StreamID) {
	created := journals.CachedInfo().Created.UnixNano()
	text := fmt.Sprintf("fanin cluster %s, journal of %d, %s of partition %d", m.Name, created, what, p)
	sum := sha256.Sum256([]byte(text))
	copy(id[:], sum[:])
	return id
}

// owns asks the bucket whether the partition is still ours. A record that is not there says nothing: the
// bucket was made anew, and it is written again.
func (m *Member) owns(ctx context.Context, h *holding) error {
	r, err := m.store().owner(ctx, m.ownerKey(h))
	switch {
	case err != nil:
		return fmt.Errorf("the cluster's bucket does not say whose the partition is: %w", err)
	case r.Owner != m.ID || r.Run != m.run || r.revision != h.revision.Load():
		return ErrFenced
	}
	return nil
}

// serve serves a partition that was claimed, and hands it over.
func (m *Member) serve(ctx context.Context, h *holding, o *Ownership) error {
	at, err := m.Serve(ctx, o)
	if o.Lost() {
		return fmt.Errorf("epoch %d has ended: %w", o.Epoch, ErrFenced)
	}
	if err != nil && !o.Begun() && ctx.Err() != nil {
		m.giveBack(h) // it was stopped before it began
		return nil
	}
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*answerWithin)
	defer cancel()
	if o.Begun() {
		if err := o.release(within, at); err != nil {
			m.Log.Warn("a partition cannot be handed over: another collector takes it after takeover_after",
				"partition", h.partition, "error", err)
			return nil
		}
		m.announce(o)
	}
	m.giveBack(h)
	m.Log.Info("handed a partition over", "partition", h.partition, "epoch", o.Epoch, "last", o.Last().Number)
	return nil
}

// giveBack writes that a partition has no owner.
func (m *Member) giveBack(h *holding) {
	if _, err := m.store().put(context.WithoutCancel(m.life), m.ownerKey(h), owner{}, h.revision.Load()); err != nil {
		m.limited.Warn("cluster_release", "the bucket does not show that a partition was handed over: another "+
			"collector takes it after takeover_after", "partition", h.partition, "error", err)
	}
}

// announce shows the tenures of a partition to all.
func (m *Member) announce(o *Ownership) {
	list := o.Tenures()
	if m.Changed != nil {
		m.Changed(o.Partition, list)
	}
	m.show(o.Partition, list)
}

// show writes the tenures of a partition into the bucket.
func (m *Member) show(p int, list []Tenure) {
	if err := m.store().show(m.life, fmt.Sprintf("%s%d", keyTenures, p), list); err != nil {
		m.limited.Warn("cluster_tenures", "the bucket does not have the tenures of a partition; trying again",
			"partition", p, "error", err)
	}
}

// keepShown shows the tenures of a partition again while the bucket does not have them, until ctx
// ends: a list could not be written, or the bucket was deleted.
func (m *Member) keepShown(ctx context.Context, o *Ownership) {
	for ctx.Err() == nil {
		pause(ctx, m.beat())
		if list := o.Tenures(); o.Begun() && !o.Lost() && !slices.Equal(list, m.Tenures(o.Partition)) {
			m.show(o.Partition, list)
		}
	}
}
