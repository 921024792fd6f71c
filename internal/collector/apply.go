package collector

import (
	"context"
	"slices"
	"sync"
	"time"

	"fanin/sink/distribute"
)

// prepareGroups makes the distributor ready for what x has.
func (c *server) prepareGroups(x *change) error {
	if !x.settings.handsOut() {
		return nil
	}
	w, err := x.settings.work(x.most.workers, c)
	if err != nil || c.work.Load() != nil {
		return err
	}
	d := distribute.New(c.sink, w)
	if err := d.Open(c.reloads.ctx); err != nil {
		return err
	}
	c.work.Store(d)
	return nil
}

// apply puts a change into force. It waits until all that is new has begun.
func (c *server) apply(x *change) {
	s := x.settings
	c.reloads.level.Set(s.level())
	c.usePolicies(s)
	c.useAccess(s)
	if d := c.work.Load(); d != nil && s.handsOut() {
		if w, err := s.work(x.most.workers, c); err == nil { // it was tried
			d.Use(w)
		}
	}
	c.tail.Use(x.most.watchers, s.maxLookbacks())
	for _, k := range x.kept {
		k.use()
	}
	c.listeners.set(x.all)
	c.reloads.success(s)
	c.reloads.removed = slices.DeleteFunc(c.reloads.removed, func(y *listener) bool { return y.isGone() })
	for _, y := range x.gone {
		replaced := slices.ContainsFunc(x.added, y.replacedBy)
		if !replaced {
			c.reloads.removed = append(c.reloads.removed, y)
			y.endAll()
		}
		c.reloads.leaving.Go(func() { c.retire(y, replaced) }) // ends by reloads.stop, at the latest
	}
	var beginning sync.WaitGroup
	for _, y := range x.added {
		for _, z := range x.gone {
			if z.replacedBy(y) {
				y.replaces(z)
			}
		}
		beginning.Go(func() { // ends by reloads.stop, at the latest
			placed := true
			for _, z := range x.gone {
				placed = placed && (!z.replacedBy(y) || c.awaitPlace(z))
			}
			c.begin(y, placed)
		})
	}
	beginning.Wait()
}

// usePolicies puts rotation, retention and the limits of streams into force.
func (c *server) usePolicies(s *settings) {
	p := s.policies()
	p.Retention.AwaitConsumers = c.work.Load() != nil
	ctx, cancel := context.WithTimeout(c.reloads.ctx, 5*time.Second)
	defer cancel()
	if err := c.sink.Use(ctx, p); err != nil && c.reloads.ctx.Err() == nil {
		c.log.Error("the new rotation and limits of streams are not in force; reload again", "err", err)
	}
}

// leaveTime is how long a stop waits for listeners to leave their sockets, which takes them a moment,
// unless the log accepts nothing.
const leaveTime = 2 * time.Second

// awaitPlace waits until another listener may begin in the place of z. False: the collector stops before
// that. To finish lines may take z all the time that a stop has.
func (c *server) awaitPlace(z *listener) bool {
	select {
	case <-z.free:
		return true
	case <-c.reloads.ctx.Done():
	}
	if z.retire == nil {
		return false
	}
	select {
	case <-z.free:
		return true
	case <-time.After(leaveTime):
		return false
	}
}

// begin begins a new listener, and returns when a stop reads what waits in its socket. If the collector
// stops already, it begins only one with such a socket, if the listener before has left that to it.
func (c *server) begin(y *listener, placed bool) {
	stopping := c.reloads.ctx.Err() != nil
	if stopping && (!placed || y.begun == nil) {
		close(y.ended)
		return
	}
	if y.begin != nil && !stopping {
		if err := y.begin(c.reloads.ctx); err != nil {
			c.log.Error("nothing goes out through a listener that a reload has opened; correct its table and reload",
				"listener", y.name(), "err", err)
		}
	}
	c.listeners.start(y)
	if y.begun != nil {
		select {
		case <-y.begun:
		case <-y.ended:
		}
	}
}

// retire ends a listener whose table is gone, or has changed.
func (c *server) retire(y *listener, replaced bool) {
	handsOver := replaced && y.retire != nil
	left := func() {}
	if handsOver {
		left = c.leavePlace(y)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.reloads.now().Collector.DrainTimeout))
	defer cancel()
	y.finish(ctx, c.log)
	left()
	y.endOut()
	y.close()
	<-y.ended
	close(y.gone)
	y.end()
	if !handsOver {
		close(y.free)
	}
}

// leavePlace has a listener leave its sockets to another one, and waits for what it still has then. If the
// collector stops before it has left, the listener is to end, and wait returns when it has left.
func (c *server) leavePlace(y *listener) (wait func()) {
	left := make(chan struct{})
	go func() { // ends by finish, at the latest
		defer close(left)
		y.retire()
		close(y.free)
	}()
	select {
	case <-left:
		y.rest(y.staying)
	case <-c.reloads.ctx.Done():
	}
	return func() { <-left }
}
