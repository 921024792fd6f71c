package collector

import (
	"context"
	"errors"
	"time"

	"fanin/internal/cluster"
	"fanin/sink"
)

// finishWithin bounds how long a partition that is handed over waits for the records of its groups.
const finishWithin = 3 * time.Second

// finish moves the records of the groups on that have finished all of a log whose tenure ends at a
// position. The log is closed, so nothing more comes into the tenure, whether or not its end gets into
// the journal. Otherwise these groups would wait until this member is back, which may be never.
func (h *handout) finish(ctx context.Context, x *server, at sink.Position) {
	if h == nil || x.work.Load() == nil || x.partition.own.Lost() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	o := x.partition.own
	l, err := newGroupLog(o.Partition, x)
	if err == nil {
		err = h.finishGroups(ctx, l, o, at)
	}
	if err != nil {
		x.log.Warn("groups of workers that have finished a partition wait until this collector is back: where they "+
			"are cannot be written", "err", err)
	}
}

func (h *handout) finishGroups(ctx context.Context, l *groupLog, o *cluster.Ownership, at sink.Position) error {
	var errs []error
	groups, _, _ := h.c.Groups(o.Partition)
	for name, g := range groups {
		errs = append(errs, h.finishGroup(ctx, l, o, name, g, at))
	}
	return errors.Join(errs...)
}

// finishGroup is finish of one group. It tries again when the record has changed meanwhile: a note of how
// far the group is may have come between.
func (h *handout) finishGroup(ctx context.Context, l *groupLog, o *cluster.Ownership, name string, g cluster.Group,
	at sink.Position) error {
	for {
		now, _ := tenuresFrom(o.Tenures(), g.Epoch)
		if now == nil || now.Epoch != o.Epoch || l.ids[name] != g.ID || !l.d.Saved(name, at) {
			return nil
		}
		err := h.c.PutGroup(ctx, o.Partition, name, g, behind(g, now))
		if !errors.Is(err, cluster.ErrGroupChanged) {
			return err
		}
		var ok bool
		if g, ok, err = h.c.ReadGroup(ctx, o.Partition, name); err != nil || !ok {
			return err
		}
	}
}
