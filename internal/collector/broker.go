package collector

import (
	"cmp"
	"context"
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
	login, err := x.table.tlsLogin(c.log)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	d := natsconn.Dialer{
		Login: login, Name: name,
		Up: func(nc *nats.Conn, again bool) {
			c.log.Info("connected to the NATS server", "server", nc.ConnectedUrlRedacted(), "again", again)
			x.in.Unreachable(nc, nil)
			if again {
				x.in.Forbidden(nil)
			}
		},
		Lost: func(_ *nats.Conn, err error) {
			c.log.Warn("the connection to the NATS server was lost; trying again", "server", x.table.URL, "err", err)
		},
		Failed: func(nc *nats.Conn, err error) {
			x.in.Unreachable(nc, x.table.files(nil).ExplainClient(err))
		},
		Forbidden: func(f *natsconn.ForbiddenError) { c.forbidden(x, f) },
	}
	nc, err := d.Dial()
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nc, nil
}

// forbidden handles a permission that a server denies. That this collector cannot answer
// requests keeps no lines.
func (c *server) forbidden(x *natsServer, f *natsconn.ForbiddenError) {
	if !f.Publish && c.service(x).Listens(f.Subject) {
		x.unserved.Do(func() {
			c.log.Info("this collector cannot answer requests over NATS: the server forbids it; lines are not affected",
				"subject", f.Subject)
		})
		return
	}
	x.in.Forbidden(f)
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
