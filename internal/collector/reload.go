package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"fanin/internal/access"
	"fanin/internal/config"
	"fanin/internal/disk"
	"fanin/internal/escape"
)

// reloaded is what came of a reload.
type reloaded struct {
	Outcome string   `json:"outcome"`
	Changed []string `json:"changed,omitempty"` // what, one by one
}

func (r *reloaded) print(w io.Writer) {
	escape.Fprintf(w, "%s\n", r.Outcome)
	for _, x := range r.Changed {
		escape.Fprintf(w, "%s\n", x)
	}
}

// reload reads the configuration again, and applies all of it or nothing: everything that is new
// is open before anything old ends.
func (c *server) reload(ctx context.Context) (reloaded, error) {
	if c.settings.file.Path == "" {
		return c.outcome("nothing to reload: there is no configuration file", nil), nil
	}
	end, err := c.reloads.begin(ctx)
	if err != nil {
		return reloaded{}, err
	}
	s, err := c.reloads.again()
	if err != nil {
		end()
		c.reloads.failure(err)
		c.log.Error("the configuration has mistakes; the collector continues with the old one", "err", err)
		return reloaded{}, fmt.Errorf("the configuration has mistakes; the collector continues with the old one:\n%w",
			err)
	}
	x, err := c.prepare(s)
	if err != nil {
		end()
		c.reloads.failure(err)
		c.log.Error("the configuration cannot be used now; the collector continues with the old one", "err", err)
		return reloaded{}, fmt.Errorf("the configuration cannot be used now; the collector continues with the old "+
			"one:\n%w", err)
	}
	done := make(chan struct{})
	c.reloads.running.Go(func() { // ends by stop, or when the listeners have ended that others wait for
		defer close(done)
		defer end()
		c.apply(x)
	})
	select {
	case <-done:
	case <-ctx.Done():
		x.changed = append(x.changed, "(some tables begin when those before them have ended)")
	}
	text := "the new configuration is in force"
	if len(x.changed) == 0 {
		text = "the configuration is unchanged; certificates are read again when their files change"
	}
	return c.outcome(text, x.changed), nil
}

func (c *server) outcome(text string, changed []string) reloaded {
	c.log.Info(text, "changed", strings.Join(changed, ", "))
	return reloaded{text, changed}
}

// reloadable are the keys that a reload applies, with all below them. Those of inputs are not
// among them, but compared table by table.
var reloadable = []string{
	"collector.access", "collector.drain_timeout", "collector.http", "collector.limits", "collector.log_level",
	"collector.work", "collector.log.compress", "collector.log.keep_age", "collector.log.keep_bytes",
	"collector.log.keep_files", "collector.log.rotate_at", "collector.log.rotate_every", "collector.log.rotate_size",
}

func canReload(key string) bool {
	return slices.ContainsFunc(reloadable, func(r string) bool { return key == r || strings.HasPrefix(key, r+".") })
}

// change is what a reload does.
type change struct {
	settings *settings
	most     connLimits
	all      []*listener // in the order of the configuration
	kept     []kept      // of all, those that stay
	added    []*listener // of all, those that are new: open, and not begun
	gone     []*listener // those that end
	changed  []string    // for people
}

// kept is a listener that stays, and its part of the new configuration.
type kept struct {
	listener *listener
	part     part
}

// use gives it its place in the new configuration, and its share of connections.
func (k *kept) use() {
	if k.listener.part = k.part; k.listener.limit != nil {
		k.listener.limit(k.part.conns)
	}
}

// prepare opens all that is new in s. An error: it opened nothing.
func (c *server) prepare(s *settings) (*change, error) {
	if err := c.refuseRestart(s); err != nil {
		return nil, err
	}
	if err := errors.Join(s.checkMachine(), s.readSecrets(), access.Check(s.accessRules())); err != nil {
		return nil, err
	}
	if err := c.openAuthority(); err != nil {
		return nil, err
	}
	x := &change{settings: s, most: c.divideDescriptors(s, disk.OpenLimit())}
	if err := c.prepareGroups(x); err != nil {
		return nil, err
	}
	c.sockets.share(true)
	defer c.sockets.share(false)
	old := c.listeners.all()
	for _, p := range s.parts(x.most) {
		if i := slices.IndexFunc(old, func(y *listener) bool { return y.part.same(&p) }); i >= 0 {
			x.kept = append(x.kept, kept{old[i], p})
			x.all, old = append(x.all, old[i]), slices.Delete(old, i, i+1)
			continue
		}
		y, err := c.openFree(p)
		if err != nil {
			x.abandon()
			s.file.Problem(p.at, "%v", err)
			return nil, s.file.Err()
		}
		x.all, x.added = append(x.all, y), append(x.added, y)
	}
	x.gone = old
	x.describe(c.reloads.now())
	return x, nil
}

// openFree opens a part. If its address is that of a listener which an earlier reload removed, and
// which has not read all yet, it waits for that.
func (c *server) openFree(p part) (*listener, error) {
	y, err := c.open(c.reloads.ctx, p)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return y, err
	}
	claims := p.claims()
	for _, z := range c.reloads.removed {
		if z.claimsAny(claims) {
			select {
			case <-z.gone: // ends with its drain_timeout
			case <-c.reloads.ctx.Done():
			}
		}
	}
	return c.open(c.reloads.ctx, p)
}

// refuseRestart refuses changes of keys that a reload cannot apply.
func (c *server) refuseRestart(s *settings) error {
	for _, key := range config.Changed("collector", &c.reloads.now().Collector, &s.Collector) {
		if !canReload(key) {
			s.file.Problem(key, "%s cannot change while the collector runs: restart it, which loses no line, or "+
				"change it back; nothing was changed", strings.TrimPrefix(key, "collector."))
		}
	}
	return s.file.Err()
}

// abandon closes what was opened.
func (x *change) abandon() {
	for _, y := range x.added {
		y.endOut()
		y.close()
	}
}

// describe lists what changes.
func (x *change) describe(before *settings) {
	for _, y := range x.added {
		word := "new"
		if slices.ContainsFunc(x.gone, func(z *listener) bool { return z.replacedBy(y) }) {
			word = "changed"
		}
		x.changed = append(x.changed, fmt.Sprintf("%s (%s): %s", y.at, y.name(), word))
	}
	for _, z := range x.gone {
		if !slices.ContainsFunc(x.added, z.replacedBy) {
			x.changed = append(x.changed, fmt.Sprintf("%s: removed", z.name()))
		}
	}
	for _, key := range config.Changed("collector", &before.Collector, &x.settings.Collector) {
		if key != "collector.http" && key != "collector.work" { // among the listeners
			x.changed = append(x.changed, key+": changed")
		}
	}
}

// replacedBy reports whether y has what only one can have, and x had.
func (x *listener) replacedBy(y *listener) bool { return x.claimsAny(y.claims()) }

func (x *listener) claimsAny(claims []string) bool {
	return slices.ContainsFunc(x.claims(), func(c string) bool { return slices.Contains(claims, c) })
}
