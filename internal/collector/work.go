package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"fanin/internal/retry"
	"fanin/sink/distribute"
)

func (t *workTable) needs() needs {
	return needs{ports: []port{{network: "tcp", listen: t.Listen, tls: t.TLS}}}
}

// handsOut reports whether lines go out to groups.
func (s *settings) handsOut() bool { return s.Collector.Work != nil || s.Collector.Inputs.handOut() }

// partitionDrain is how long the lines of a partition that is handed over wait for answers of workers.
const partitionDrain = time.Second

// work are the settings of the distributor.
func (s *settings) work(maxWorkers int, c *server) (distribute.Settings, error) {
	w, err := cmp.Or(s.Collector.Work, &workTable{}).settings(maxWorkers, c.log, &c.fleet.gate)
	w.Admit = func(nc net.Conn, token string) (func(), string, error) { return admitWorker(c.access, nc, token) }
	if s.partition != "" {
		w.Windows, w.Partition, w.DrainTime = true, s.partition, partitionDrain
	}
	return w, err
}

// prepareWork makes the distributor, which the sink asks before it removes a file.
func (c *server) prepareWork() error {
	if !c.settings.handsOut() {
		return nil
	}
	w, err := c.settings.work(c.most.workers, c)
	if err != nil {
		return err
	}
	c.work.Store(distribute.New(c.sink, w))
	c.sink.Retention.AwaitConsumers = true
	return nil
}

// openWork opens the distributor, if there is one.
func (c *server) openWork(ctx context.Context) error {
	if d := c.work.Load(); d != nil {
		return d.Open(ctx)
	}
	return nil
}

// open listens for workers. Those that are connected stay when the table changes.
func (t *workTable) open(_ context.Context, s *server, _ int) (*listener, error) {
	held, err := s.sockets.listen(t.Listen, t.Insecure || s.settings.insecure || t.TLS != nil)
	if err != nil {
		return nil, fmt.Errorf("listen for workers on %s: %w", t.Listen, err)
	}
	limited := retry.NewLog(s.log)
	ln := t.filter(held, func(peer string) {
		s.counters.Counter("fanin_rejected_connections_total", "Connections that the collector closed, by reason.",
			"reason", "not_allowed").Inc()
		limited.Warn("not_allowed", "an address that is not in allow of [collector.work] was refused", "peer", peer)
	})
	end := func() { ln.Close() }
	return &listener{kind: "work", address: ln.Addr().String(), close: end,
		serve: func() error {
			if err := s.work.Load().Serve(ln); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return distribute.ErrClosed
		},
		handover: handover{retire: end, rest: func(context.Context) {}},
		shutdown: func(context.Context) error { return nil }, // drain does it, after all inputs
	}, nil
}
