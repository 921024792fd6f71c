package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/cluster"
	"fanin/internal/natsconn"
	"fanin/internal/retry"
	"fanin/internal/sequence"
	"fanin/sink"
	"fanin/sink/depot"
)

// keeper has the stream keep the messages of a partition until their lines are in the archive: then the
// disks of all owners may be lost. It purges what is archived.
//
// What it purges is in closed files of this tenure, each with the marks at its end. With the newest of
// these marks, and the messages behind them, the rest of a lost log is made again. So as long as the log
// of an earlier tenure is not in the archive, nothing is purged.
type keeper struct {
	ends
	own     *cluster.Ownership
	copier  *depot.Copier
	depot   *depot.Depot
	conn    *nats.Conn
	name    string // of the stream
	limited *retry.Log

	life   context.Context // until the partition leaves
	leave  context.CancelFunc
	saving sync.WaitGroup // salvages, which end with life

	// Of run.
	stream jetstream.Stream
	found  time.Time       // when the stream was
	asked  time.Time       // when the archive was
	free   time.Time       // when no tenure was missing there
	purged cluster.Message // all up to it are purged
	due    cluster.Message // all up to it are archived; zero: that was purged, or cannot be
	done   map[uint64]bool // epochs of tenures whose logs are in the archive

	waiting struct {
		sync.Mutex
		tenures []cluster.Tenure // that are not
	}
}

const (
	purgeEvery = time.Second
	// askDepotEvery is how often the archive is asked for the logs of earlier tenures.
	askDepotEvery = 5 * time.Second
	purgeTime     = 10 * time.Second
	// findStreamEvery is how often the stream is looked for.
	findStreamEvery = time.Minute
	// sayBlocked is after which time it is said that nothing is purged: a log that moves is soon archived.
	sayBlocked = time.Minute
)

func newKeeper(k *sink.Sink, own *cluster.Ownership, log *slog.Logger) *keeper {
	x := &keeper{ends: ends{sink: k, log: log}, own: own, limited: retry.NewLog(log),
		free: time.Now(), done: make(map[uint64]bool)}
	x.life, x.leave = context.WithCancel(context.Background())
	return x
}

// run purges what is archived, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer func() { <-ctx.Done(); k.leave(); k.saving.Wait() }()
	for retry.Pause(ctx, purgeEvery) == nil {
		if err := k.round(ctx); err != nil {
			k.fails(ctx, err)
		}
	}
}

// round purges what is archived by now.
func (k *keeper) round(ctx context.Context) error {
	if err := k.find(ctx); err != nil {
		return err
	}
	if !natsconn.Keeps(k.stream) {
		k.limited.Warn("cluster_queue", "the stream removes messages when they are acknowledged: the lines of files "+
			"that are not yet in the archive are lost with the disk; remove the stream once it is empty, and it is "+
			"made again as one that keeps them", "stream", k.name)
		return nil
	}
	if (len(k.unarchived()) > 0 || k.asked.IsZero()) && time.Since(k.asked) > askDepotEvery {
		if err := k.askDepot(ctx); err != nil {
			return err
		}
		k.asked = time.Now()
	}
	waiting := k.unarchived()
	if len(waiting) == 0 {
		k.free = time.Now()
		return k.purge(ctx)
	}
	if time.Since(k.free) > sayBlocked {
		k.limited.Warn("cluster_blocked", "nothing is purged from the stream: the log of a former tenure is not in "+
			"the archive; if its disk is lost, run fanin-collector cluster recover", "stream", k.name, "partition",
			k.own.Partition, "epoch", waiting[0].Epoch, "owner", waiting[0].Owner)
	}
	return nil
}

func (k *keeper) fails(ctx context.Context, err error) {
	if ctx.Err() == nil {
		k.limited.Warn("cluster_keep", "messages that are in the archive are not purged from the stream; trying again",
			"stream", k.name, "err", err)
	}
}

// find finds the stream, and again each minute: it may have been made anew.
func (k *keeper) find(ctx context.Context) error {
	if k.stream != nil && time.Since(k.found) < findStreamEvery {
		return nil
	}
	stream, err := k.lookUp(ctx)
	if err == nil {
		k.stream, k.found = stream, time.Now()
	}
	return err
}

// lookUp asks for the stream.
func (k *keeper) lookUp(ctx context.Context) (jetstream.Stream, error) {
	js, err := jetstream.New(k.conn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	return js.Stream(ctx, k.name)
}

// unarchived are the earlier tenures for which the stream keeps messages, because their logs are not in
// the archive.
func (k *keeper) unarchived() []cluster.Tenure {
	k.waiting.Lock()
	defer k.waiting.Unlock()
	return k.waiting.tenures
}

// askDepot asks the archive for the logs of earlier tenures.
func (k *keeper) askDepot(ctx context.Context) error {
	missing, err := k.missing(ctx, k.stream, k.done)
	if err != nil {
		return err
	}
	k.waiting.Lock()
	defer k.waiting.Unlock()
	k.waiting.tenures = missing
	return nil
}

// missing are the tenures before the present one of which the stream has messages, and the archive not the
// whole log. Those of the log that is open here are its copier's.
func (k *keeper) missing(ctx context.Context, stream jetstream.Stream, done map[uint64]bool) (missing []cluster.Tenure,
	err error) {
	first, err := firstKept(ctx, stream, k.own.Partition)
	if err != nil || first == 0 {
		return nil, err
	}
	for _, t := range k.own.Tenures() {
		if t.End == "" || t.Last < first || t.From == t.To || t.Log == k.sink.LogID().String() || done[t.Epoch] {
			continue
		}
		lost, err := k.misses(ctx, stream, &t)
		if err != nil {
			return nil, err
		}
		if done[t.Epoch] = !lost; lost {
			missing = append(missing, t)
		}
	}
	return missing, nil
}

// misses reports whether the archive has not the whole log of a tenure, and the stream may have the rest.
func (k *keeper) misses(ctx context.Context, stream jetstream.Stream, t *cluster.Tenure) (bool, error) {
	has, err := archiveHas(ctx, k.depot, t)
	if has || err != nil {
		return false, err
	}
	kept, err := ofStream(ctx, stream, t)
	if err == nil && !kept {
		k.log.Warn("lines of a former tenure are not in the archive, and the stream is another one by now: it keeps "+
			"nothing for them, and they cannot be recovered", "epoch", t.Epoch, "owner", t.Owner, "stream", k.name)
	}
	return kept, err
}

// ofStream reports whether a stream may have the messages of a tenure. It has none if it gave the number of
// the last one to another message. An earlier release, which did not note its time, did not keep them.
func ofStream(ctx context.Context, stream jetstream.Stream, t *cluster.Tenure) (bool, error) {
	if t.LastTime == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	m, err := stream.GetMsg(ctx, t.Last)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	return err == nil && uint64(sequence.At(m.Time)) == t.LastTime, err
}

// firstKept is the first message that a stream has of a partition; 0: there is none.
func firstKept(ctx context.Context, stream jetstream.Stream, partition int) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	m, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(natsconn.OfPartition(partition)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the first message of partition %d: %w", partition, err)
	}
	return m.Sequence, nil
}

// archiveHas reports whether the log of a tenure is in the archive.
func archiveHas(ctx context.Context, d *depot.Depot, t *cluster.Tenure) (bool, error) {
	to, err := sink.ParsePosition(t.To)
	if err != nil {
		return false, err
	}
	l, err := d.Log(ctx, t.Log)
	return err == nil && l.Has(to), err
}

// purge purges what is archived.
func (k *keeper) purge(ctx context.Context) error {
	if m := k.archived(k.copier.Before()); m.Number > 0 {
		k.due = m
	}
	if k.due.Number == 0 || k.due == k.purged {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	err := k.purgeUpTo(ctx, k.due)
	if err == nil {
		k.due = cluster.Message{}
	}
	return err
}

// purgeUpTo purges all messages up to one, if the stream still has that. Where it was made again, or lost
// its end, other messages have the numbers by now, which may be in no log.
func (k *keeper) purgeUpTo(ctx context.Context, last cluster.Message) error {
	if last.Time == 0 { // a journal of an earlier release does not say it
		return nil
	}
	there, err := k.has(ctx, last)
	if err != nil || !there {
		return err
	}
	err = k.stream.Purge(ctx, jetstream.WithPurgeSubject(natsconn.OfPartition(k.own.Partition)),
		jetstream.WithPurgeSequence(last.Number+1))
	if err == nil {
		k.purged = last
	}
	return err
}

// has reports whether the stream has a message. It says so if that is no message of this stream.
func (k *keeper) has(ctx context.Context, last cluster.Message) (bool, error) {
	m, err := k.stream.GetMsg(ctx, last.Number)
	if err == nil && uint64(sequence.At(m.Time)) == last.Time {
		return true, nil
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		info, err := k.stream.Info(ctx)
		if err != nil || info.State.LastSeq >= last.Number {
			return false, err // it was purged
		}
	} else if err != nil {
		return false, err
	}
	k.limited.Warn("cluster_purge", "the stream was made again, or has lost its end: the messages up to this one are "+
		"in the archive, and other ones have their numbers; nothing is purged before the next file is in the archive",
		"stream", k.name, "message", last.Number)
	return false, nil
}
