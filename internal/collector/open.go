package collector

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/retry"
)

// openInputs binds and connects every input. None accepts lines before it is served.
func (c *server) openInputs(ctx context.Context) error {
	for _, x := range c.settings.Collector.Inputs.inOrder() {
		src, err := x.table.open(ctx, c, c.most.inputs[x.table])
		if err != nil {
			return err
		}
		c.listeners.add(src)
	}
	return nil
}

// prepareWork makes the distributor, which the sink asks before it removes a file.
func (c *server) prepareWork() (err error) {
	w := c.settings.Collector.Work
	if w == nil && !c.settings.Collector.Inputs.handOut() {
		return nil
	}
	w = cmp.Or(w, &workTable{})
	if c.work, err = w.distributor(c.sink, c.most.workers, c.log, &c.fleet.gate); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("listen for workers on %s: %w", w.Listen, err)}
	}
	c.sink.Retention.AwaitConsumers = true
	return nil
}

// openWork listens for workers.
func (c *server) openWork() error {
	if c.settings.Collector.Work == nil {
		return nil
	}
	w := c.settings.Collector.Work
	ln, err := c.sockets.listen(w.Listen, w.Insecure || c.settings.insecure || w.TLS != nil)
	if err != nil {
		return fmt.Errorf("listen for workers on %s: %w", w.Listen, err)
	}
	limited := retry.NewLog(c.log)
	ln = w.filter(ln, func(peer string) {
		c.counters.Counter("fanin_rejected_connections_total", "Connections that the collector closed, by reason.",
			"reason", "not_allowed").Inc()
		limited.Warn("not_allowed", "an address that is not in allow of [collector.work] was refused", "peer", peer)
	})
	c.listeners.add(&listener{kind: "work", address: ln.Addr().String(),
		serve:    func() error { return c.work.Serve(ln) },
		shutdown: func(context.Context) error { return nil }, // drain does it, after all inputs
		close:    func() { ln.Close() }})
	return nil
}

// printStart prints what a person at the terminal needs to know next.
func (c *server) printStart() {
	st := c.sink.Status()
	escape.Fprintf(os.Stderr, "writing %s (sync %s, format %s)\nstate %s\n", st.Path, st.Sync, st.Format, st.State)
	for _, l := range c.listeners.serving() {
		if l.kind == "tcp" {
			host, port, _ := net.SplitHostPort(l.address)
			name := filepath.Base(st.Path)
			escape.Fprintf(os.Stderr, "try: echo hello | nc -q0 %s %s; tail -F %s\n", host, port, name)
			escape.Fprintf(os.Stderr, "or:  fanin-agent --to %s /var/log/dpkg.log\n", l.address)
			return
		}
	}
}

// id distinguishes this collector from others, for people.
func (c *server) id() string { return c.sink.Status().Log[:8] }
