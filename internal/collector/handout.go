package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"fanin/internal/cluster"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/retry"
	"fanin/sink"
	"fanin/sink/distribute"
)

// handout hands the lines of a cluster's partitions out to groups of workers.
//
// A tenure's lines are handed out from its log, by the member that has that log, also when the
// partition has another owner by now: so where a group is needs no translation from one log to
// another. The record of the group in the bucket says in which tenure it is. The member that has that
// tenure's log moves the record on when the group has finished the tenure, and not before: so the
// next tenure's lines come behind, whichever member has them.
//
//	record in the bucket: tenure 7 --> cursors of its log: position 3:4096
//	          |  finished, and saved
//	          v
//	record in the bucket: tenure 9 --> cursors of that log, on another member
//
// That member may be killed, and never come back. So the record also says how far the group is known to have
// finished the log: if that is the end of the tenure, the next owner moves the record on.
type handout struct {
	c        *member
	director *distribute.Director
	listener net.Listener
	limited  *retry.Log

	mu      sync.Mutex
	owned   map[int]bool  // partitions that are served, or about to be, because they are owned
	resting map[int]*rest // servers of logs that are open for groups alone
	logs    map[int]*groupLog
}

// lookAtGroups is how often the records of groups are compared with the logs.
const lookAtGroups = 100 * time.Millisecond

// openHandout listens for workers.
func (c *member) openHandout() error {
	t := c.settings.Collector.Work
	if t == nil {
		return nil
	}
	s, err := t.settings(config.Or(t.MaxWorkers, defaultWorkers), c.log, &c.gate)
	if err != nil {
		return err
	}
	s.Admit = func(nc net.Conn, token string) (func(), string, error) { return admitWorker(c.access, nc, token) }
	ln, err := net.Listen("tcp", t.Listen)
	if err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen for workers on %s: %w", t.Listen, err)}
	}
	h := &handout{c: c, director: distribute.NewDirector(s, c.settings.Collector.Cluster.partitions()),
		limited: retry.NewLog(c.log), owned: make(map[int]bool), resting: make(map[int]*rest),
		logs: make(map[int]*groupLog)}
	h.listener = t.filter(ln, func(peer string) {
		h.limited.Warn("not_allowed", "an address that is not in allow of [collector.work] was refused", "peer", peer)
	})
	h.director.Places, h.director.Here = h.places, h.here
	c.handout = h
	return nil
}

// address is where the workers of other machines connect to this one.
func (h *handout) address(advertise, host string) string {
	if h == nil {
		return ""
	}
	if advertise != "" {
		return advertise
	}
	at := h.listener.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() {
		return net.JoinHostPort(host, fmt.Sprint(at.Port))
	}
	return at.String()
}

// run hands out until ctx ends. Then it closes the logs that are open for groups alone.
func (h *handout) run(ctx context.Context) {
	if h == nil {
		return
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends by Close
		if err := h.director.Serve(h.listener); err != nil && !errors.Is(err, distribute.ErrClosed) {
			h.c.log.Error("no more workers are accepted; restart", "err", err)
		}
	})
	if _, err := h.c.conn.Subscribe(h.subject(), h.answer); err != nil {
		h.c.log.Warn("other members cannot ask this one for its groups of workers", "err", err)
	}
	tick := time.NewTicker(lookAtGroups)
	defer tick.Stop()
	for ctx.Err() == nil {
		for p := range h.director.Partitions {
			h.look(ctx, p)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	h.endRests() // before the connections: the workers are told, and answer
	h.director.Close()
	serving.Wait()
}

// look compares the records of a partition's groups with the log that is open here.
func (h *handout) look(ctx context.Context, p int) {
	groups, forgotten, ok := h.c.Groups(p)
	if !ok {
		return
	}
	var errs []error
	for name, g := range h.c.LostGroups(p) { // as all saw it last; if it has moved on since, that is repeated
		err := h.c.PutGroup(ctx, p, name, cluster.Group{}, g)
		if !errors.Is(err, cluster.ErrGroupChanged) {
			errs = append(errs, err)
		}
	}
	tenures := h.c.Tenures(p)
	h.arrange(p, groups, tenures)
	l := h.logOf(p)
	if l == nil {
		return
	}
	for name := range forgotten {
		errs = append(errs, l.forget(ctx, name))
	}
	for name, g := range groups {
		errs = append(errs, h.serveGroup(ctx, l, name, g, tenures))
	}
	errs = append(errs, h.restore(ctx, l, groups, forgotten, tenures))
	if err := cmp.Or(errs...); err != nil && ctx.Err() == nil && !errors.Is(err, distribute.ErrClosed) {
		h.limited.Warn("groups", "cannot bring the groups of workers of a partition up to date; trying again",
			"partition", p, "err", err)
	}
}

// logOf are the groups of the log of a partition that is open here; nil: none is.
func (h *handout) logOf(p int) *groupLog {
	x := h.c.parts()[p]
	h.mu.Lock()
	defer h.mu.Unlock()
	if x == nil || !x.isOpen() || x.work.Load() == nil {
		delete(h.logs, p)
		return nil
	}
	if l := h.logs[p]; l != nil && l.x == x {
		return l
	}
	l, err := newGroupLog(p, x)
	if err != nil {
		h.limited.Warn("ids", "cannot read which groups of workers a log knows; trying again", "partition", p,
			"err", err)
		return nil
	}
	h.logs[p] = l
	return l
}

// serveGroup lets a group have what it may have of a log, and moves its record on when it has finished
// a tenure.
func (h *handout) serveGroup(ctx context.Context, l *groupLog, name string, g cluster.Group,
	tenures []cluster.Tenure) error {
	if l.awaits(name, g, tenures) {
		return nil
	}
	now, following := tenuresFrom(tenures, g.Epoch)
	l.retract(name, g, now)
	if now == nil {
		return nil
	}
	if now.Log != l.log && g.Finished(now) && !lostLog(now, following) {
		return h.moveOn(ctx, l, name, g, now)
	}
	if ok, err := l.adopt(ctx, name, g, now, following); !ok {
		return err
	}
	if now.Log != l.log {
		return nil
	}
	end, known := l.end(now)
	if !known {
		return nil
	}
	if err := l.allow(ctx, name, g, now, end); err != nil {
		return err
	}
	if now.End == "" {
		return h.noteDone(ctx, l, name, g, now, end)
	}
	if done, err := l.d.Finished(ctx, name, end); !done {
		return err
	}
	return h.moveOn(ctx, l, name, g, now)
}

// moveOn moves the record of a group behind a tenure that it has finished.
func (h *handout) moveOn(ctx context.Context, l *groupLog, name string, g cluster.Group, t *cluster.Tenure) error {
	written, err := h.put(ctx, l.p, name, g, behind(g, t))
	if written {
		l.dismiss(name)
	}
	return err
}

// put writes the record of a group, if no other member has changed it meanwhile: the watch shows that.
func (h *handout) put(ctx context.Context, p int, name string, before, after cluster.Group) (written bool, err error) {
	err = h.c.PutGroup(ctx, p, name, before, after)
	if errors.Is(err, cluster.ErrGroupChanged) {
		return false, nil
	}
	return err == nil, err
}

// noteDone notes in the record of a group that it has finished all that the journal has of the log. It does so at
// most every noteEvery, and only behind what the cursors of the log say durably.
func (h *handout) noteDone(ctx context.Context, l *groupLog, name string, g cluster.Group, t *cluster.Tenure,
	end sink.Position) error {
	after := g
	after.Log, after.Done, after.DoneIn = l.log, end.String(), t.Epoch
	if after == g || time.Since(l.noted[name]) < noteEvery {
		return nil
	}
	if done, err := l.d.Finished(ctx, name, end); !done {
		return err
	}
	l.noted[name] = time.Now()
	_, err := h.put(ctx, l.p, name, g, after)
	return err
}

// noteEvery is how often the record of a group says how far it is, at most.
const noteEvery = time.Second

// lostLog reports whether the log of a tenure was lost, and others have its lines: the places of groups are not
// those of these logs.
func lostLog(t *cluster.Tenure, following []cluster.Tenure) bool {
	return len(following) > 0 && following[0].Epoch == t.Epoch
}

// behind is the record of a group that has finished a tenure. It waits for no later tenure: the member
// may be gone when that begins.
func behind(g cluster.Group, t *cluster.Tenure) cluster.Group {
	after := cluster.Group{ID: g.ID, Epoch: t.Epoch + 1, From: g.From}
	if g.From == cluster.EndOfTenure {
		after.From = ""
	}
	return after
}

// restore writes the records again that the bucket lost: an open log knows where its groups are. Of
// several logs, the one with the earliest tenure that is not finished counts.
func (h *handout) restore(ctx context.Context, l *groupLog, groups map[string]cluster.Group, forgotten map[string]bool,
	tenures []cluster.Tenure) error {
	var errs []error
	for name, id := range l.known() {
		g, ok := groups[name]
		if forgotten[name] || ok && g.ID != id {
			continue
		}
		t := l.unfinished(name, tenures)
		if t == nil || ok && g.Epoch <= t.Epoch {
			continue
		}
		h.limited.Warn("restored", "the bucket does not have where a group of workers is: it is written again",
			"group", name, "partition", l.p, "epoch", t.Epoch)
		err := h.c.PutGroup(ctx, l.p, name, g, cluster.Group{ID: id, Epoch: t.Epoch})
		if !errors.Is(err, cluster.ErrGroupChanged) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tenuresFrom are the tenure in which a group is that has finished all before an epoch, and those behind
// it that have lines; nil: it has not begun.
func tenuresFrom(list []cluster.Tenure, epoch uint64) (now *cluster.Tenure, following []cluster.Tenure) {
	for i := range list {
		t := &list[i]
		switch {
		case t.Epoch < epoch, t.From == t.To: // which has nothing
		case now == nil:
			now = t
		default:
			following = append(following, *t)
		}
	}
	return now, following
}

// committed lets the groups have what the journal of a partition has by now.
func (c *member) committed(p int) {
	h := c.handout
	if h == nil {
		return
	}
	h.mu.Lock()
	l := h.logs[p]
	h.mu.Unlock()
	if l != nil {
		l.extend()
	}
}
