// Package redis publishes a log on channels of a Redis server as it grows.
package redis

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/redisconn"
	"fanin/internal/retry"
	"fanin/sink"
)

// Publisher publishes each line that is committed, as in the file, on a channel of its host
// and source. A subscriber receives what comes from then on; none is waited for, and
// nothing is published twice. Set the fields, then Run.
//
// While the server is away, lines wait in the log, as long as they are fewer bytes than
// MaxLag. What is not published is counted: lines that are too far behind, lines that the
// server refused, and lines whose answer was lost with the connection, which may have been
// published.
type Publisher struct {
	Sink    *sink.Sink        // required
	Server  *redisconn.Client // required
	Channel Channel           // required
	MaxLag  int64             // bytes to be behind before lines are dropped; default 64 MiB
	Log     *slog.Logger      // nil: discard

	warnings *retry.Log
	counts   struct{ published, unheard, dropped atomic.Uint64 }
	trouble  atomic.Pointer[string]

	// Used by Run alone.
	reader *sink.Reader
	conn   *redisconn.Conn // nil: not connected
	used   time.Time       // when the server last answered
	name   []byte          // of a line's channel
}

// The pause before the next attempt to connect doubles from firstPause to longestPause.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// trustFor is for how long a connection counts as good without an answer. Longer ago, the
// server is asked first, so that no lines are sent into a connection that is broken.
const trustFor = time.Second

// Run publishes lines, beginning at the end of the log, until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	p.MaxLag = cmp.Or(p.MaxLag, 64<<20)
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	p.warnings = retry.NewLog(p.Log)
	p.reader = p.Sink.Reader(p.Sink.End())
	defer func() { p.reader.Close() }()
	defer p.drop()
	pause := retry.Backoff{Min: firstPause, Max: longestPause}
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		grown := p.Sink.Grown() // before the look
		p.catchUp(ctx)
		if err := p.ready(ctx); err != nil {
			p.report(err)
			pause.Wait(ctx)
			continue
		}
		p.report(nil)
		pause.Reset()
		if p.step(ctx, buf) {
			continue
		}
		select {
		case <-grown:
			retry.Pause(ctx, 2*time.Millisecond) // so that many small commits are read together
		case <-time.After(trustFor):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// ready connects, and makes sure that the server answers.
func (p *Publisher) ready(ctx context.Context) (err error) {
	if p.conn != nil && time.Since(p.used) < trustFor {
		return nil
	}
	if p.conn == nil {
		if p.conn, err = p.Server.Dial(ctx, ""); err != nil {
			return err
		}
	}
	if _, err = p.conn.Do(ctx, "PING"); err != nil {
		p.drop()
		return err
	}
	p.used = time.Now()
	return nil
}

func (p *Publisher) drop() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// step publishes some of what is new, and reports whether there was something.
func (p *Publisher) step(ctx context.Context, buf []byte) bool {
	text, _, err := p.reader.Read(ctx, buf)
	var gone *sink.GoneError
	switch {
	case errors.As(err, &gone):
		p.dropped(ctx, gone.From, gone.To)
		return true
	case err != nil:
		p.warnings.Warn("read", "cannot read the log to publish it on channels; trying again", "err", err)
		retry.Pause(ctx, time.Second)
		return ctx.Err() == nil
	case text == nil:
		return false
	}
	p.publish(ctx, text)
	return true
}

// publish publishes whole lines, and counts what becomes of them.
func (p *Publisher) publish(ctx context.Context, text []byte) {
	lines := 0
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		f := p.Sink.Parts(line)
		p.name = p.Channel.append(p.name[:0], f.Host, f.Source)
		p.conn.Begin(3)
		p.conn.Add("PUBLISH")
		p.conn.AddBytes(p.name)
		p.conn.AddBytes(line)
		lines++
	}
	err := p.conn.Send(ctx)
	for err == nil && lines > 0 {
		if err = p.answer(ctx); err == nil {
			lines--
		}
	}
	if err != nil {
		p.counts.dropped.Add(uint64(lines))
		p.warnings.Warn("broken", "the connection to the Redis server broke; lines that it did not confirm may be "+
			"missing on their channels", "server", p.conn.Server(), "lines", lines, "err", err)
		p.drop()
		return
	}
	p.used = time.Now()
}

// answer reads the answer to one line. An error ends the connection.
func (p *Publisher) answer(ctx context.Context) error {
	v, err := p.conn.Receive(ctx, 0)
	var refused *redisconn.ServerError
	switch {
	case errors.As(err, &refused):
		p.counts.dropped.Add(1)
		p.warnings.Warn("refused", "the Redis server refuses lines for channels; they are dropped, and counted",
			"server", p.conn.Server(), "err", redisconn.Explain(err))
		return nil
	case err != nil:
		return err
	}
	p.counts.published.Add(1)
	if n, ok := v.Int(); ok && n == 0 {
		p.counts.unheard.Add(1)
	}
	return nil
}

// catchUp drops lines when there are too many, and reports how many.
func (p *Publisher) catchUp(ctx context.Context) {
	at, end := p.reader.At(), p.Sink.End()
	if p.Sink.Distance(at, end) <= p.MaxLag {
		return
	}
	p.reader.Close()
	p.reader = p.Sink.Reader(end)
	p.dropped(ctx, at, end)
}

// dropped counts lines that are not published.
func (p *Publisher) dropped(ctx context.Context, from, to sink.Position) {
	n, exact, err := p.Sink.Count(ctx, from, to)
	p.counts.dropped.Add(n)
	p.warnings.Warn("behind", "lines were not published on channels: the Redis server is away or too slow, or they "+
		"were removed", "lines", n, "exact", exact && err == nil, "from", from.String(), "to", to.String())
}

// Trouble returns what keeps lines from being published now, or "".
func (p *Publisher) Trouble() string {
	if s := p.trouble.Load(); s != nil {
		return *s
	}
	return ""
}

// report sets the trouble, and logs it when it has changed.
func (p *Publisher) report(err error) {
	text := redisconn.Explain(err)
	if before := p.trouble.Swap(&text); before != nil && *before == text || before == nil && text == "" {
		return
	}
	if err == nil {
		p.Log.Info("lines are published on channels", "channel", string(p.Channel))
		return
	}
	p.Log.Warn("lines cannot be published on channels; trying again", "channel", string(p.Channel), "err", text)
}

// Describe sends nothing: the metrics describe themselves when they are collected.
func (p *Publisher) Describe(chan<- *prometheus.Desc) {}

// Collect sends the publisher's metrics.
func (p *Publisher) Collect(out chan<- prometheus.Metric) {
	send := func(name, help string, v uint64) {
		desc := prometheus.NewDesc(name, help, []string{"channel"}, nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), string(p.Channel))
	}
	send("fanin_redis_channel_lines_total", "Lines published on channels of a Redis server.",
		p.counts.published.Load())
	send("fanin_redis_channel_unheard_lines_total", "Of these, lines without a receiver.", p.counts.unheard.Load())
	send("fanin_redis_channel_dropped_lines_total", "Lines not published on channels: the server was away, too slow "+
		"or refused them, or its answer was lost.", p.counts.dropped.Load())
}
