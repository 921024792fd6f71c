package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/natsconn"
	natsout "fanin/sink/distribute/nats"
	"fanin/sink/livetail"
)

// natsServer is one NATS server that lines come from, and go to. The ways out have a
// connection of their own: they may block, and acknowledgements must not.
type natsServer struct {
	table *natsTable
	in    *ingest.NATS
	conn  *nats.Conn
	out   *nats.Conn // nil: nothing goes out
	work  *natsout.Output
	tail  *livetail.Publisher

	unserved sync.Once // that the server forbids the micro service was said

	going sync.WaitGroup
	stop  context.CancelFunc // of the ways out
}

// natsStatus is one of them in `status --json`.
type natsStatus struct {
	URL     string `json:"url"`
	Trouble string `json:"trouble,omitempty"` // what is not taken or carried, and why
}

// openNATS connects to the servers, which may be absent, and begins with the ways
// out: a group must be there before the first line.
func (c *server) openNATS(ctx context.Context) error {
	for i := range c.settings.Collector.NATS {
		x := &natsServer{table: &c.settings.Collector.NATS[i], stop: func() {}}
		c.nats = append(c.nats, x)
		x.in = c.natsInput(x.table)
		var err error
		if x.conn, err = c.dial(x, "fanin-collector "+c.id()); err != nil {
			return err
		}
		x.in.Conn = x.conn
		if x.table.Tail != "" || x.table.Work != nil {
			if x.out, err = c.dial(x, "fanin-collector "+c.id()+" out"); err != nil {
				return err
			}
			c.sendOut(ctx, x)
		}
		if err := c.service(x).Serve(x.conn); err != nil {
			return err
		}
	}
	return nil
}

// id tells this collector from others, for people.
func (c *server) id() string { return c.sink.Status().Log[:8] }

func (c *server) natsInput(t *natsTable) *ingest.NATS {
	return &ingest.NATS{
		Out: c.sink, Welcome: c.sink.Welcome, Sessions: c.sessions, Room: c.room, Metrics: c.intake, Log: c.log, Notice: c.sink.Notice,
		Agents: natsconn.Subjects(t.agents()), Subjects: t.Subjects, Queue: t.Queue, Stream: t.Stream, Durable: t.Durable, Create: t.Create,
		Replicas: orZero(t.Replicas), Host: t.Host, TrustHost: t.TrustHost, MaxLine: int(orZero(t.MaxLine)), Pending: int(orZero(t.Pending)),
		RefusedDir: filepath.Join(c.settings.state(), "refused"), KeepRefused: int64(orZero(t.KeepRefused)),
	}
}

// dial makes a connection that comes back by itself.
func (c *server) dial(x *natsServer, name string) (*nats.Conn, error) {
	options, err := x.table.options(c.log)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	url := x.table.URL
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.Name(name), nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(5 * time.Second), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2), nats.PermissionErrOnSubscribe(true),
		nats.ConnectHandler(func(nc *nats.Conn) {
			c.log.Info("connected to the NATS server", "server", nc.ConnectedUrlRedacted())
			x.in.Unreachable(nc, nil)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.log.Info("connected to the NATS server again", "server", nc.ConnectedUrlRedacted())
			x.in.Unreachable(nc, nil)
			x.in.Forbidden(nil)
		}),
		nats.ReconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil {
				err = x.table.files(nil).ExplainClient(err)
			}
			x.in.Unreachable(nc, err)
		}),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				c.log.Warn("the connection to the NATS server was lost; trying again", "server", url, "err", cmp.Or(err, errors.New("closed")))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.refused(x, err) }),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the NATS server %s: %w", url, err)
	}
	return nc, nil
}

// refused takes what the server says beside the point. That this collector cannot be
// asked keeps no lines.
func (c *server) refused(x *natsServer, err error) {
	if subject, publish, ok := natsconn.Forbidden(err); ok && !publish && c.service(x).Listens(subject) {
		x.unserved.Do(func() {
			c.log.Info("this collector cannot be found or asked over NATS: the server forbids it; lines are taken all the same", "subject", subject)
		})
		return
	}
	x.in.Forbidden(err)
}

// sendOut begins with what goes out to a server.
func (c *server) sendOut(ctx context.Context, x *natsServer) {
	var going context.Context
	going, x.stop = context.WithCancel(context.Background())
	if x.table.Tail != "" {
		x.tail = &livetail.Publisher{Sink: c.sink, Conn: x.out, Prefix: x.table.Tail, Token: natsout.Token, Log: c.log}
		x.going.Go(func() { x.tail.Run(going) }) // ends by stop
		escape.Fprintf(os.Stderr, "publishing %s.> nats %s\n", x.table.Tail, x.table.URL)
	}
	w := x.table.Work
	if w == nil {
		return
	}
	joined := make(chan struct{})
	x.work = &natsout.Output{Dial: c.work.Connect, Conn: x.out, Parts: c.sink.Parts, ID: c.sink.Status().Log, Log: c.log,
		Group: w.Group, From: w.From, Stream: w.Stream, Subject: w.Subject, Create: w.Create, Replicas: orZero(w.Replicas),
		Joined: sync.OnceFunc(func() { close(joined) })}
	x.going.Go(func() { // ends by stop
		if err := x.work.Run(going); err != nil {
			c.log.Error("lines do not go into the stream", "stream", w.Stream, "err", err)
		}
	})
	select {
	case <-joined:
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
	escape.Fprintf(os.Stderr, "carrying into the stream %s nats %s\n", w.Stream, x.table.URL)
}

// service lets the collector be found and asked.
func (c *server) service(x *natsServer) *natsconn.Service {
	return &natsconn.Service{
		Prefix: cmp.Or(x.table.agents(), "fanin"), Role: "collector", ID: c.id(), Version: daemon.Release,
		Metadata: map[string]string{"log": c.sink.Status().Log, "path": c.sink.Path},
		Stats: func() any {
			st := c.sink.Status()
			return map[string]any{"lines": st.Lines, "commits": st.Commits, "generation": st.Generation, "healthy": st.Healthy}
		},
		Endpoints: map[string]func(context.Context) (any, error){
			"status": func(ctx context.Context) (any, error) { return c.status(ctx) },
			"rotate": func(ctx context.Context) (any, error) { return c.sink.Rotate(ctx) },
		},
	}
}

// listenNATS takes what comes over NATS.
func (c *server) listenNATS() {
	for _, x := range c.nats {
		if x.table.agents() != "" || len(x.table.Subjects) > 0 {
			c.serve(listener{"nats", x.table.URL, x.in.Shutdown}, x.in.Serve)
		}
	}
}

// stopOut ends what goes out: what a work queue has not acknowledged goes there
// after the next start.
func (c *server) stopOut() {
	for _, x := range c.nats {
		x.stop()
		x.going.Wait()
	}
}

// closeNATS says the last words and closes the connections.
func (c *server) closeNATS() {
	for _, x := range c.nats {
		for _, nc := range []*nats.Conn{x.conn, x.out} {
			if nc != nil {
				nc.FlushTimeout(time.Second)
				nc.Close()
			}
		}
	}
}

func (c *server) natsStatus() (list []natsStatus) {
	for _, x := range c.nats {
		st := natsStatus{URL: x.table.URL}
		var trouble []string
		if x.conn != nil {
			trouble = append(trouble, x.in.Trouble())
		}
		if x.work != nil {
			trouble = append(trouble, x.work.Trouble())
		}
		for _, t := range trouble {
			if t != "" {
				st.Trouble = strings.TrimPrefix(st.Trouble+"; "+t, "; ")
			}
		}
		list = append(list, st)
	}
	return list
}
