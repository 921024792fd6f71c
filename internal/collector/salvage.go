package collector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	natsin "fanin/ingest/nats"
	"fanin/internal/cluster"
	"fanin/internal/natsconn"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/depot"
)

// salvage makes the rest of a tenure's log again, of which the archive has the beginning at most: from the
// messages that the stream keeps, in a log of its own, which then is in the archive.
//
//	base ......... the newest marks in the archive that are of this tenure, or of one before
//	scratch log .. adopts them, and reads the messages behind them as an owner does
//	archive ...... gets its files
type salvage struct {
	c    *member
	own  *server // of the partition, which is owned here
	keep *keeper // its
	lost cluster.Tenure
	all  []cluster.Tenure

	sink   *sink.Sink // the scratch log
	copier *depot.Copier
	ends   *ends
}

// base is from where on a log is made again.
type base struct {
	depot.Marks
	at  sink.Position // where the file ends that has them
	own bool          // it is of the tenure itself
}

// mayFill returns why a tenure cannot be made again from there on. Marks of another stream, which was made
// again or lost its end, may be behind its messages: then nothing would be read, and all taken for recovered.
func (b *base) mayFill(t *cluster.Tenure) error {
	if !b.own && b.Last >= t.First || b.Last > t.Last {
		return fmt.Errorf("the archive has marks of message %d, and the tenure has the messages %d to %d: the stream "+
			"was made again, or has lost its end, and it is not known where this tenure began", b.Last, t.First, t.Last)
	}
	return nil
}

// salvaged is what became of a tenure.
type salvaged struct {
	Epoch uint64 `json:"epoch"`
	Lines uint64 `json:"lines"`
}

// run makes the log again, and makes it known.
func (x *salvage) run(ctx context.Context) (done salvaged, err error) {
	from, err := x.base(ctx)
	if err != nil {
		return done, err
	}
	dir := filepath.Join(x.keep.sink.State, "salvage")
	if err := os.RemoveAll(dir); err != nil { // of an attempt that was interrupted
		return done, err
	}
	defer os.RemoveAll(dir)
	if err := x.open(ctx, dir); err != nil {
		return done, err
	}
	t := cluster.Tenure{Epoch: x.lost.Epoch, Owner: x.c.ID, Log: x.sink.LogID().String(), First: from.Last + 1,
		Last: x.lost.Last, LastTime: x.lost.LastTime, End: x.lost.End, Recovered: true}
	err = x.fill(ctx, from, &t)
	done = salvaged{t.Epoch, x.sink.Status().Lines}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err = errors.Join(err, x.sink.Close(within)); err != nil {
		return done, err
	}
	by := []cluster.Tenure{t}
	if from.own {
		kept := x.lost
		kept.To, kept.Last, kept.LastTime = from.at.String(), from.Last, 0
		by = []cluster.Tenure{kept, t}
	}
	return done, x.keep.own.Recovered(ctx, x.lost, by)
}

// base finds the newest marks in the archive that are before the end of the tenure. Without any, the log
// begins with nothing, as the partition did.
func (x *salvage) base(ctx context.Context) (b base, err error) {
	i := slices.Index(x.all, x.lost)
	var refused error
	for _, t := range slices.Backward(x.all[:i+1]) {
		m, err := x.marked(ctx, &t)
		if err != nil {
			return b, err
		}
		if m == nil {
			continue
		}
		b.at, b.own = m.End(), t == x.lost
		if b.Marks, err = x.keep.depot.Marks(ctx, *m); err != nil {
			return b, err
		}
		if refused = b.mayFill(&x.lost); refused == nil {
			return b, nil
		}
	}
	return base{}, refused
}

// marked is the last file of a tenure that has marks, and is whole in it; nil: there is none.
func (x *salvage) marked(ctx context.Context, t *cluster.Tenure) (*depot.Manifest, error) {
	from, err := sink.ParsePosition(t.From)
	if err != nil {
		return nil, err
	}
	to, err := sink.ParsePosition(t.To)
	if err != nil {
		return nil, err
	}
	l, err := x.keep.depot.Log(ctx, t.Log)
	if err != nil {
		return nil, err
	}
	until := l.Until()
	for _, m := range slices.Backward(l) {
		if m.Marks != (depot.Object{}) && m.End().Compare(from) > 0 && m.End().Compare(to) <= 0 &&
			m.Generation < until.Generation {
			return &m, nil
		}
	}
	return nil, nil
}

// open opens the scratch log.
func (x *salvage) open(ctx context.Context, dir string) error {
	s := x.c.settings.ofPartition(x.keep.own.Partition)
	own := s.sink()
	k := &sink.Sink{Path: filepath.Join(dir, filepath.Base(own.Path)), State: filepath.Join(dir, "state"),
		Format: own.Format, Sync: "none", Rotation: own.Rotation, Modes: own.Modes, Log: x.keep.log,
		Retention: sink.RetentionPolicy{Files: -1, Bytes: -1, Compress: own.Retention.Compress}}
	k.Modes.WAL = partitionWAL
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	place, err := s.Collector.Archive.tlsPlace(x.keep.log)
	if err != nil {
		return err
	}
	if x.copier, err = depot.New(k, k.State, place, s.Collector.Archive.Check == "size", x.keep.log); err != nil {
		return err
	}
	x.sink, x.ends = k, &ends{sink: k, log: x.keep.log}
	k.OnClose(x.ends.closing)
	x.copier.Marks = x.ends.path
	return k.Open(ctx)
}

// fill reads the messages, and has the files archived. It completes the tenure.
func (x *salvage) fill(ctx context.Context, from base, t *cluster.Tenure) error {
	if err := x.sink.Adopt(ctx, from.Streams); err != nil {
		return err
	}
	x.ends.committed(sink.Position{}, cluster.Message{Number: from.Last})
	if !from.own && from.Last+1 < x.lost.First {
		t.First = x.lost.First
		if err := x.read(ctx, from.Last+1, t.First-1); err != nil {
			return err
		}
	}
	at, err := x.sink.Settled(ctx)
	if err != nil {
		return err
	}
	t.From = at.String()
	if err := x.read(ctx, t.First, t.Last); err != nil {
		return err
	}
	if at, err = x.sink.Settled(ctx); err != nil {
		return err
	}
	t.To = at.String()
	x.ends.committed(at, cluster.Message{Number: t.Last})
	if _, err := x.sink.Rotate(ctx); err != nil {
		return err
	}
	return awaitArchive(ctx, x.sink, x.copier)
}

// awaitArchive runs a copier until it has copied all that is closed.
func awaitArchive(ctx context.Context, s *sink.Sink, copier *depot.Copier) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { copier.Run(ctx) }) // ends by stop
	defer running.Wait()
	defer stop()
	for copier.Before() != s.End().Generation {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// read reads messages into the scratch log.
func (x *salvage) read(ctx context.Context, from, to uint64) error {
	t := x.c.settings.Collector.Cluster
	n := &natsin.Input{Conn: x.keep.conn, Out: &scratch{x.sink, x.keep.sink}, Log: x.keep.log, Budget: x.c.room,
		Welcome: func(string) wire.Welcome { return wire.Welcome{} },
		Agents: natsin.AgentOptions{Subjects: natsconn.Subjects(t.nats().agents()), TrustHost: t.TrustHost,
			Relays: t.relays(x.own)},
		Plain:    natsin.PlainOptions{Subjects: t.Subjects, Host: t.Host},
		Stream:   natsin.StreamOptions{Name: t.Name},
		Refusals: natsin.RefusedStore{Dir: filepath.Join(x.sink.State, "refused")}}
	return n.Rebuild(ctx, x.keep.own.Partition, t.partitions(), from, to)
}

// scratch is a log that may not know streams: what the archive has does not say where they were. Each
// then begins with the first batch that is there of it.
type scratch struct {
	*sink.Sink
	known *sink.Sink // that the partition has now, which knows their names
}

// Append implements wire.Appender.
func (s *scratch) Append(ctx context.Context, b wire.Batch) error {
	err := s.Sink.Append(ctx, b)
	var expected *wire.Expected
	if b.Op != wire.OpData || !errors.As(err, &expected) || expected.Known && expected.Watermark.Epoch >= b.Epoch {
		return err
	}
	open := b
	open.Op, open.End, open.After, open.Text, open.Cuts, open.Marks = wire.OpOpen, b.Offset, b.Before, nil, nil, nil
	open.Next, open.Extensions, open.Joined = nil, nil, false
	for _, m := range s.known.Marks([]wire.StreamID{b.Stream.Owned(b.Kind, b.Agent)}) {
		open.Source, open.Identity = m.Source, m.Identity
	}
	if err := s.Sink.Append(ctx, open); err != nil {
		return fmt.Errorf("begin a stream that the archive does not know: %w", err)
	}
	return s.Sink.Append(ctx, b)
}
