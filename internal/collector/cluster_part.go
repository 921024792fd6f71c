package collector

import (
	"context"

	natsin "fanin/ingest/nats"
	"fanin/internal/cluster"
	"fanin/internal/sequence"
	"fanin/internal/wire"
	"fanin/sink"
)

// tenant is what a server is told that has the log of one partition of a cluster.
type tenant struct {
	own       *cluster.Ownership // nil: the log is open for groups of workers alone
	count     int
	committed func()  // is called when the journal has more of the log
	keep      *keeper // nil: the stream keeps nothing
}

// begin makes the log go on where the partition is, and begins its tenure.
func (p *tenant) begin(ctx context.Context, k *sink.Sink) error {
	log := k.LogID().String()
	at, err := k.Settled(ctx)
	if err != nil {
		return err
	}
	resumes, complete := p.own.Resumes(log, at)
	if !resumes {
		if err := k.Adopt(ctx, p.own.Marks()); err != nil {
			return err
		}
		if at, err = k.Settled(ctx); err != nil {
			return err
		}
	}
	err = p.own.Begin(ctx, log, at, k.AllMarks, resumes && !complete)
	if err == nil && p.keep != nil {
		p.keep.committed(at, p.own.Last())
	}
	return err
}

// input is the partition as its input needs it.
func (p *tenant) input(k *sink.Sink) *natsin.Partition {
	rest := func(ctx context.Context) error {
		if !p.own.Behind(ctx, k.End()) {
			return nil
		}
		return p.commit(ctx, k, sequence.Entry{})
	}
	return &natsin.Partition{Number: p.own.Partition, Count: p.count, Epoch: p.own.Epoch, Check: p.own.Check,
		Moves: p.own.Moves, Keep: p.keep != nil, Last: func() sequence.Entry {
			m := p.own.Last()
			return sequence.Entry{Number: m.Number, Witness: sequence.Witness(m.Time)}
		},
		Commit: func(ctx context.Context, last sequence.Entry) error { return p.commit(ctx, k, last) }, Rest: rest}
}

// commit makes it known that the log has all messages up to the last one.
func (p *tenant) commit(ctx context.Context, k *sink.Sink, last sequence.Entry) error {
	at, err := k.Settled(ctx)
	if err != nil {
		return err
	}
	m := cluster.Message{Number: last.Number, Time: uint64(last.Witness)}
	if err := p.own.Commit(ctx, m, at, k.Marks); err != nil {
		return err
	}
	if p.keep != nil {
		p.keep.committed(at, m)
	}
	p.committed()
	return nil
}

// welcome is the welcome of an agent: all owners of a partition are one log to it.
func (p *tenant) welcome(w wire.Welcome) wire.Welcome {
	w.Log, w.Incarnation = p.own.Log, p.own.Incarnation
	w.About.Files = nil // of this owner alone
	w.About.Way = wire.Way{Known: true, Logs: []wire.StreamID{w.Log}}
	return w
}
