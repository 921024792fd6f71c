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
	joined  chan struct{} // closed when the group is there
	to      string
}

// openOutput makes the output, which the listener begins and ends. The server may be absent.
func (t *redisTable) openOutput(s *server, l *listener) error {
	client, err := t.client(s, "out")
	if err != nil {
		return err
	}
	client.MaxBulk = 0 // max_message is of what is received
	o, x := t.Output, &redisOutput{joined: make(chan struct{}), cancel: func() {}}
	if o.Channel != "" {
		p := &redistail.Publisher{Sink: s.sink, Server: client, Channel: redistail.Channel(o.Channel), Log: s.log}
		x.run, x.trouble = p.Run, p.Trouble
		l.metrics = append(l.metrics, p)
		x.to = "channel " + o.Channel
		close(x.joined)
	} else {
		out := &redisout.Output{Sink: s.sink, Work: s.work.Load(), Server: client, Stream: o.Stream, List: o.List,
			Group: o.Group, From: o.From, MaxLen: int64(config.OrZero(o.MaxLen)), Log: s.log,
			Joined: sync.OnceFunc(func() { close(x.joined) })}
		x.run, x.trouble = out.Run, out.Trouble
		l.metrics = append(l.metrics, out)
		x.to = strings.TrimSpace("stream " + o.Stream)
		if o.List != "" {
			x.to = "list " + o.List
		}
	}
	l.stopOut = x.stop
	l.trouble = both(l.trouble, x.reason)
	l.begin = func(ctx context.Context) error {
		x.start(s)
		select { // the group must be there before the first line
		case <-x.joined:
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
		escape.Fprintf(os.Stderr, "publishing to the %s redis %s\n", x.to, strings.Join(t.URL, ","))
		return nil
	}
	return nil
}

// start runs the output until stop.
func (x *redisOutput) start(s *server) {
	var ctx context.Context
	ctx, x.cancel = context.WithCancel(context.Background())
	x.running.Go(func() { // ends by stop
		if err := x.run(ctx); err != nil && ctx.Err() == nil {
			x.failed.Store(&err)
			s.log.Error("lines are not carried to the Redis server", "to", x.to, "err", err)
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
