package collector

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/config"
	"fanin/internal/escape"
	redisout "fanin/sink/distribute/redis"
	redistail "fanin/sink/livetail/redis"
)

// redisOutput is what goes out to a Redis server.
type redisOutput struct {
	run     func(ctx context.Context) error
	trouble func() string
	failed  atomic.Pointer[error] // why it ended by itself; nil: it has not
	running sync.WaitGroup
	cancel  context.CancelFunc
}

// openOutput begins to carry lines, and has the listener end it. The server may be absent.
func (t *redisTable) openOutput(ctx context.Context, s *server, l *listener) error {
	client, err := t.client(s, "out")
	if err != nil {
		return err
	}
	client.MaxBulk = 0 // max_message is of what is received
	o, joined, x := t.Output, make(chan struct{}), new(redisOutput)
	to := ""
	if o.Channel != "" {
		p := &redistail.Publisher{Sink: s.sink, Server: client, Channel: redistail.Channel(o.Channel), Log: s.log}
		x.run, x.trouble = p.Run, p.Trouble
		l.metrics = append(l.metrics, p)
		to = "channel " + o.Channel
		close(joined)
	} else {
		out := &redisout.Output{Sink: s.sink, Work: s.work, Server: client, Stream: o.Stream, List: o.List,
			Group: o.Group, From: o.From, MaxLen: int64(config.OrZero(o.MaxLen)), Log: s.log,
			Joined: sync.OnceFunc(func() { close(joined) })}
		x.run, x.trouble = out.Run, out.Trouble
		l.metrics = append(l.metrics, out)
		to = strings.TrimSpace("stream " + o.Stream)
		if o.List != "" {
			to = "list " + o.List
		}
	}
	x.start(s, to)
	l.stopOut = x.stop
	l.trouble = both(l.trouble, x.reason)
	select { // the group must be there before the first line
	case <-joined:
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
	escape.Fprintf(os.Stderr, "publishing to the %s redis %s\n", to, strings.Join(t.URL, ","))
	return nil
}

// start runs the output until stop.
func (x *redisOutput) start(s *server, to string) {
	var ctx context.Context
	ctx, x.cancel = context.WithCancel(context.Background())
	x.running.Go(func() { // ends by stop
		if err := x.run(ctx); err != nil && ctx.Err() == nil {
			x.failed.Store(&err)
			s.log.Error("lines are not carried to the Redis server", "to", to, "err", err)
		}
	})
}

// reason is why no lines go out, "" while they do.
func (x *redisOutput) reason() string {
	if err := x.failed.Load(); err != nil {
		return (*err).Error()
	}
	return x.trouble()
}

// stop ends the output: what the server has not confirmed is sent after the next start.
func (x *redisOutput) stop() {
	x.cancel()
	x.running.Wait()
}

// both is what troubles one or the other.
func both(a, b func() string) func() string {
	return func() string {
		var all []string
		for _, of := range []func() string{a, b} {
			if of == nil {
				continue
			}
			if text := of(); text != "" {
				all = append(all, text)
			}
		}
		return strings.Join(all, "; ")
	}
}
