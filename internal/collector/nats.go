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

	natsin "fanin/ingest/nats"
	"fanin/internal/access"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/natsconn"
	natsout "fanin/sink/distribute/nats"
	"fanin/sink/livetail"
)

// natsServer is one NATS server that lines come from, and go to. The ways out have a
// connection of their own: they may block, and acknowledgements must not.
type natsServer struct {
	s     *server
	table *natsTable
	in    *natsin.Input
	conn  *nats.Conn
	out   *nats.Conn // nil: nothing goes out
	work  *natsout.Output
	tail  *livetail.Publisher

	unserved sync.Once // that the server forbids the micro service was logged

	going sync.WaitGroup
	stop  context.CancelFunc // of the ways out
}

// open connects to the server, which may be absent.
func (t *natsTable) open(_ context.Context, s *server, _ int) (*listener, error) {
	x := &natsServer{s: s, table: t, in: t.listener(s), stop: func() {}}
	if err := x.connect(); err != nil {
		x.stopOut()
		x.close()
		return nil, err
	}
	src := &listener{kind: "nats", address: t.URL, stopOut: x.stopOut, close: x.close,
		trouble: x.trouble, refused: x.in}
	if t.agents() != "" || len(t.Subjects) > 0 {
		src.serve, src.shutdown = x.in.Serve, x.in.Shutdown
	}
	x.prepareOut()
	if x.work != nil {
		src.metrics = append(src.metrics, x.work)
	}
	if x.tail != nil {
		src.metrics = append(src.metrics, x.tail)
	}
	src.begin = x.begin
	return src, nil
}

// connect makes the connections.
func (x *natsServer) connect() (err error) {
	if x.conn, err = x.dial("fanin-collector " + x.s.id()); err != nil {
		return err
	}
	x.in.Conn = x.conn
	if x.table.Tail != "" || x.table.Work != nil {
		if x.out, err = x.dial("fanin-collector " + x.s.id() + " out"); err != nil {
			return err
		}
	}
	return nil
}

// begin starts the ways out, as a group must be there before the first line, and serves the
// requests of the micro service.
func (x *natsServer) begin(ctx context.Context) error {
	x.sendOut(ctx)
	return x.service().Serve(x.conn)
}

func (t *natsTable) listener(s *server) *natsin.Input {
	n := &natsin.Input{
		Out: s.sink, Welcome: s.welcome, Sessions: s.sessions, Budget: s.room,
		Metrics: natsin.NewMetrics(s.counters), Inputs: s.inputs, Log: s.log, Notice: s.sink.Notice,
		Agents: natsin.AgentOptions{Subjects: natsconn.Subjects(t.agents()), TrustHost: t.TrustHost,
			Relays: t.relays(s)},
		Plain: natsin.PlainOptions{Subjects: t.Subjects, Queue: t.Queue, Host: t.Host,
			MaxLine: int(config.OrZero(t.MaxLine)), Pending: int(config.OrZero(t.Pending))},
		Stream: natsin.StreamOptions{Name: t.Stream, Durable: t.Durable, Create: t.Create,
			Replicas: config.OrZero(t.Replicas)},
		Refusals: natsin.RefusedStore{Dir: filepath.Join(s.settings.state(), "refused"),
			Keep: int64(config.OrZero(t.KeepRefused))},
	}
	if s.partition != nil {
		n.Stream.Partition = s.partition.input(s.sink)
	}
	return n
}

// dial makes a connection that is restored by itself.
func (x *natsServer) dial(name string) (*nats.Conn, error) {
	login, err := x.table.tlsLogin(x.s.log)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	d := natsconn.Dialer{
		Login: login, Name: name,
		Up: func(nc *nats.Conn, again bool) {
			x.s.log.Info("connected to the NATS server", "server", nc.ConnectedUrlRedacted(), "again", again)
			x.in.Unreachable(nc, nil)
			if again {
				x.in.Forbidden(nil)
			}
		},
		Lost: func(_ *nats.Conn, err error) {
			x.s.log.Warn("the connection to the NATS server was lost; trying again", "server", x.table.URL, "err", err)
		},
		Failed:    func(nc *nats.Conn, err error) { x.in.Unreachable(nc, x.table.TLS.Files(nil).ExplainClient(err)) },
		Forbidden: x.forbidden,
	}
	nc, err := d.Dial()
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nc, nil
}

// forbidden handles a permission that a server denies. That this collector cannot answer
// requests keeps no lines.
func (x *natsServer) forbidden(f *natsconn.ForbiddenError) {
	if !f.Publish && x.service().Listens(f.Subject) {
		x.unserved.Do(func() {
			x.s.log.Info("this collector cannot answer requests over NATS: the server forbids it; lines are not "+
				"affected",
				"subject", f.Subject)
		})
		return
	}
	x.in.Forbidden(f)
}

// prepareOut makes what goes out to a server.
func (x *natsServer) prepareOut() {
	if x.table.Tail != "" {
		x.tail = &livetail.Publisher{Sink: x.s.sink, Conn: x.out, Prefix: x.table.Tail, Token: natsout.Token,
			Log: x.s.log}
	}
	if w := x.table.Work; w != nil {
		x.work = &natsout.Output{Dial: x.s.work.Load().Connect, Conn: x.out, Parts: x.s.sink.Parts,
			ID: x.s.sink.Status().Log, Log: x.s.log, Group: w.Group, From: w.From, Stream: w.Stream,
			Subject: w.Subject, Create: w.Create, Replicas: config.OrZero(w.Replicas)}
	}
}

// sendOut starts what goes out to a server.
func (x *natsServer) sendOut(ctx context.Context) {
	var going context.Context
	going, x.stop = context.WithCancel(context.Background())
	if x.tail != nil {
		x.going.Go(func() { x.tail.Run(going) }) // ends by stop
		escape.Fprintf(os.Stderr, "publishing %s.> nats %s\n", x.table.Tail, x.table.URL)
	}
	w := x.table.Work
	if w == nil {
		return
	}
	joined := make(chan struct{})
	x.work.Joined = sync.OnceFunc(func() { close(joined) })
	x.going.Go(func() { // ends by stop
		if err := x.work.Run(going); err != nil {
			x.s.log.Error("lines are not published to the stream", "stream", w.Stream, "err", err)
		}
	})
	select {
	case <-joined:
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
	escape.Fprintf(os.Stderr, "publishing to the stream %s nats %s\n", w.Stream, x.table.URL)
}

// service lets NATS clients find the collector and send it requests.
func (x *natsServer) service() *natsconn.Service {
	return &natsconn.Service{
		Prefix: cmp.Or(x.table.agents(), "fanin"), Role: "collector", ID: x.s.id(), Version: daemon.Release,
		Metadata: map[string]string{"log": x.s.sink.Status().Log, "path": x.s.sink.Path},
		Stats: func() any {
			st := x.s.sink.Status()
			return map[string]any{"lines": st.Lines, "commits": st.Commits, "generation": st.Generation,
				"healthy": st.Healthy}
		},
		Endpoints: x.s.endpoints(),
	}
}

// endpoints are the requests that messages may ask, as endpoints of a micro service.
func (c *server) endpoints() map[string]func(context.Context) (any, error) {
	all := make(map[string]func(context.Context) (any, error))
	for _, r := range c.messageRequests() {
		all[r.name] = func(ctx context.Context) (any, error) {
			return r.answer(access.With(ctx, access.Caller{Kind: "NATS"}), nil)
		}
	}
	return all
}

// stopOut ends what goes out: lines that a work queue has not acknowledged are published
// after the next start.
func (x *natsServer) stopOut() {
	x.stop()
	x.going.Wait()
}

// close sends what is still to be sent, and closes the connections.
func (x *natsServer) close() {
	for _, nc := range []*nats.Conn{x.conn, x.out} {
		if nc != nil {
			nc.FlushTimeout(time.Second)
			nc.Close()
		}
	}
}

// trouble is what is not received or published, and why.
func (x *natsServer) trouble() string {
	trouble := x.in.Trouble()
	if x.work == nil {
		return trouble
	}
	return strings.TrimPrefix(strings.TrimSuffix(trouble+"; "+x.work.Trouble(), "; "), "; ")
}
