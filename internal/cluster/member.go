package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/retry"
	"fanin/sink"
)

// Member is one collector of a cluster. New makes it; set Serve, then Run it.
type Member struct {
	Config
	Log *slog.Logger

	// Serve is the life of a partition in this process, until ctx ends: it opens the log, begins
	// the tenure, and reads the partition. It returns where the log has ended.
	Serve func(ctx context.Context, o *Ownership) (sink.Position, error)
	// Changed is told the tenures of a partition when they have changed; may be nil.
	Changed func(partition int, all []Tenure)

	run     string
	js      jetstream.JetStream
	lease   *lease
	ended   chan *holding
	limited *retry.Log
	counts  counts
	life    context.Context // of the holdings

	mu      sync.Mutex // of what follows, which Status and holdings read
	bucket  *bucket
	dir     *directory
	held    map[int]*holding
	trouble string
}

// New makes a member that meets the others over a connection.
func New(c Config, nc *nats.Conn, log *slog.Logger) (*Member, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &Member{Config: c, Log: log, run: strconv.FormatUint(rand.Uint64(), 36), js: js,
		lease: newLease(c.TakeoverAfter), ended: make(chan *holding, c.Partitions), limited: retry.NewLog(log),
		counts: newCounts(), dir: newDirectory(c.TakeoverAfter), held: make(map[int]*holding)}, nil
}

// Run is a member until ctx ends; then it hands over what it owns. It returns an error if the
// configuration does not fit from the start, or if its state was copied. What changes later, such as a
// bucket that was deleted, may change back.
func (m *Member) Run(ctx context.Context) error {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	m.life = life
	for {
		err := m.attend(ctx)
		switch {
		case ctx.Err() != nil:
			m.leave()
			return nil
		case errors.Is(err, errCopied), errors.Is(err, ErrConfig) && m.store() == nil:
			m.leave()
			return err
		}
		m.setTrouble(err.Error())
		m.limited.Warn("cluster", "this collector is not in touch with its cluster; trying again", "cluster", m.Name,
			"error", err)
		retry.Pause(ctx, m.beat())
	}
}

func (m *Member) setTrouble(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = text
}

// open finds the bucket and the journals, and watches the bucket.
func (m *Member) open(ctx context.Context) (jetstream.KeyWatcher, error) {
	within, cancel := context.WithTimeout(ctx, 2*answerWithin)
	defer cancel()
	b, err := openBucket(within, m.js, &m.Config)
	if err != nil {
		return nil, err
	}
	if _, err := openJournals(within, m.js, &m.Config); err != nil {
		return nil, err
	}
	if err := b.agree(ctx, &m.Config); err != nil {
		return nil, err
	}
	watch, err := b.kv.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch the bucket of the cluster: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.dir.lastGroups()
	m.bucket, m.dir, m.trouble = b, newDirectory(m.TakeoverAfter), ""
	m.dir.before = before
	return watch, nil
}

// attend takes part in the cluster until ctx ends, or until the bucket must be opened again.
func (m *Member) attend(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer watch.Stop()
	if err := m.sign(ctx, false); err != nil {
		return err
	}
	tick := time.NewTicker(m.beat())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case h := <-m.ended:
			m.forget(h)
		case <-tick.C:
			err = m.tick(ctx)
		case e, ok := <-watch.Updates():
			if !ok {
				return errors.New("the watch of the cluster's bucket has ended")
			}
			err = m.see(e)
		}
		if err != nil {
			return err
		}
		if len(watch.Updates()) == 0 {
			m.step(time.Now())
		}
	}
}

// tick gives a sign of life, and looks whether those before came back.
func (m *Member) tick(ctx context.Context) error {
	if err := m.sign(ctx, false); err != nil {
		return err
	}
	m.removeSilent(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := m.dir.lastBeat; m.dir.complete && time.Since(last) > m.TakeoverAfter {
		return errors.New("this collector's signs of life do not come back from the cluster's bucket")
	}
	return nil
}

// removeSilent removes the records of members that do not come back. One that does writes it again.
func (m *Member) removeSilent(ctx context.Context) {
	m.mu.Lock()
	old := m.dir.silent(time.Now())
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for id, revision := range old {
		if m.bucket.kv.Delete(ctx, keyMember+id, jetstream.LastRevision(revision)) == nil {
			m.Log.Info("a member is silent for long: its record is removed from the bucket", "member", id)
		}
	}
}

// sign gives a sign of life.
func (m *Member) sign(ctx context.Context, leaving bool) error {
	sent := time.Now()
	_, err := m.bucket.set(ctx, keyMember+m.ID, Peer{ID: m.ID, Host: m.Host, HTTP: m.HTTP, Work: m.Work, Run: m.run,
		Leaving: leaving})
	if err != nil {
		return fmt.Errorf("give a sign of life to the cluster: %w", err)
	}
	m.lease.renew(sent)
	return nil
}

// see takes a record in.
func (m *Member) see(e jetstream.KeyValueEntry) error {
	m.mu.Lock()
	if e == nil {
		m.dir.complete = true
		m.mu.Unlock()
		return nil
	}
	now := time.Now()
	p := m.dir.see(e, now)
	me := m.dir.peers[m.ID]
	if e.Key() == keyMember+m.ID && me != nil && me.Run == m.run {
		m.dir.beat(now)
	}
	var tenures []Tenure
	if p >= 0 {
		tenures = m.dir.tenures[p]
	}
	twice := m.dir.complete && e.Key() == keyMember+m.ID && me != nil && me.Run != m.run
	m.mu.Unlock()
	if p >= 0 && m.Changed != nil {
		m.Changed(p, tenures)
	}
	if twice {
		return fmt.Errorf("another process is the member %s of the cluster, too: its state was copied; remove the "+
			"file member from one of the two states: %w", m.ID, errCopied)
	}
	if e.Key() == keyConfig {
		return m.checkSettings(e)
	}
	return nil
}

// step claims, releases and gives up partitions, as the records have it.
func (m *Member) step(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dir.complete || m.dir.peers[m.ID] == nil {
		return
	}
	for p, h := range m.held {
		if h.bucket != m.bucket && h.revision.Load() > 0 {
			m.recheck(h, m.dir.owners[p])
		}
	}
	should := assign(m.Partitions, m.dir.eligible(m.ID, now), m.dir.ownersByPartition(), m.dir.pins)
	for p := range m.Partitions {
		m.adjust(p, should[p] == m.ID, now)
	}
}

// adjust claims, releases or gives up a partition that should be ours, or not.
func (m *Member) adjust(p int, ours bool, now time.Time) {
	r, h := m.dir.owners[p], m.held[p]
	switch {
	case h != nil && h.isOlder(r, m.run):
		h.lose()
	case h != nil && !ours:
		h.release()
	case h == nil && ours && m.mayTake(r, now) && m.dir.settled(m.ID, now):
		m.held[p] = m.take(p, r)
	case h == nil && !ours && r.Owner == m.ID: // of a former life, or of a claim without an answer
		m.held[p] = m.giveUp(p, r)
	}
}

// recheck compares a holding with the owner's record after the bucket was opened again. It may be
// another one: then the record is written again, or another member was first.
func (m *Member) recheck(h *holding, r ownerRecord) {
	switch {
	case r.revision == h.revision.Load(), r.Run == m.run:
		h.revision.Store(r.revision)
	case r.revision > 0:
		h.lose()
	default:
		b := m.bucket
		go func() { // ends with the answer
			if revision, err := b.put(m.life, m.ownerKey(h), owner{m.ID, m.run}, 0); err == nil {
				h.revision.Store(revision)
			}
		}()
	}
	h.bucket = m.bucket
}

// mayTake reports whether a partition has no owner that lives.
func (m *Member) mayTake(r ownerRecord, now time.Time) bool {
	return r.Owner == "" || r.Owner == m.ID || !m.dir.alive(r.Owner, now)
}

// forget forgets a holding that has ended.
func (m *Member) forget(h *holding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, h.partition)
}

// leave hands over all that the member owns, and ends.
func (m *Member) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m.mu.Lock()
	left, b := len(m.held), m.bucket
	for _, h := range m.held {
		h.release()
	}
	m.mu.Unlock()
	if b == nil {
		return
	}
	m.sign(ctx, true) // if it does not arrive, the others wait for takeover_after
	tick := time.NewTicker(m.beat())
	defer tick.Stop()
	for left > 0 {
		select {
		case h := <-m.ended:
			m.forget(h)
			left--
		case <-tick.C:
			m.sign(ctx, true)
		}
	}
	within, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	b.kv.Delete(within, keyMember+m.ID)
}
