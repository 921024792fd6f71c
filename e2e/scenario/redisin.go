package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/internal/redisconn"
)

// RedisIn kills redis, the collector, and both, while lines come from streams, one of them with
// a group and one with ids of nanoseconds, and a list of a redis that syncs each write. In the end the log has each line
// that redis confirmed once, in its order.
func (p *Programs) RedisIn(n int) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "redis-")
	if err != nil {
		return nil, err
	}
	redis, err := rig.NewRedis(dir, "appendonly yes", "appendfsync always")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	if err := redis.Start(); err != nil {
		return nil, err
	}
	defer redis.Kill()
	d, err := p.begin(plan{name: "redis in, kill", few: true, log: rotating + fmt.Sprintf(
		"[[collector.redis]]\nurl = %q\nstreams = [\"plain\", \"wide\"]\n[[collector.redis]]\nurl = %q\nstreams = [\"shared\"]\ngroup = \"g\"\nlists = [\"queue\"]\n",
		redis.URL, redis.URL)})
	if err != nil {
		return nil, err
	}
	for i, command := range [][]string{{"XADD", "plain", "*", "message"}, {"XADD", "shared", "*", "message"}, {"RPUSH", "queue"},
		{"XADD", "wide", "1700000000123456789-*", "message"}} {
		x := &pusher{redis: redis, first: pushSources + i*writerSources, command: command}
		d.pushers = append(d.pushers, x)
		d.writing.Go(func() { x.run(d.stop) }) // ends by stop
	}
	for range n {
		moment(300 * time.Millisecond)
		if err := d.strikeRedis(redis); err != nil {
			d.fail(err)
			break
		}
	}
	d.fail(d.settleRedisIn())
	r, err := d.end(n)
	if err == nil {
		os.RemoveAll(dir)
	}
	return r, err
}

// settleRedisIn waits until the log has all lines that redis confirmed.
func (d *day) settleRedisIn() error {
	d.still()
	for end := time.Now().Add(2 * time.Minute); d.err == nil; time.Sleep(200 * time.Millisecond) {
		written, kept := d.sent()
		e := check.Expect{Written: written, Kept: kept}
		r, err := e.Log(d.collector.Log, d.collector.State)
		if err != nil || r.Lost == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("lines in redis do not come: %s", r)
		}
	}
	return nil
}

// pusher writes lines to a stream or a list of redis, one or a few to a message. What redis
// confirmed has to be in the log. After a message whose outcome it does not know it begins
// another source.
type pusher struct {
	redis   *rig.Redis
	first   int      // number of the first source
	command []string // before the message

	mu  sync.Mutex
	all []published
}

// run writes until stop is closed.
func (x *pusher) run(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-stop; cancel() }() // ends by stop
	client := &redisconn.Client{Login: redisconn.Login{URLs: []string{x.redis.URL}}, Timeout: 5 * time.Second}
	for ctx.Err() == nil {
		conn, err := client.Dial(ctx, "")
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		x.push(ctx, conn)
		conn.Close()
	}
}

// push writes messages of one source until ctx ends, or something goes wrong.
func (x *pusher) push(ctx context.Context, conn *redisconn.Conn) {
	x.mu.Lock()
	source := len(x.all)
	x.all = append(x.all, published{})
	x.mu.Unlock()
	for ctx.Err() == nil {
		var sent [8]int
		for i := range sent {
			sent[i] = x.message(conn, source)
		}
		if conn.Send(ctx) != nil {
			return
		}
		for _, n := range sent {
			if _, err := conn.Receive(ctx, 0); err != nil {
				return
			}
			x.mu.Lock()
			x.all[source].acked = n
			x.mu.Unlock()
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// message appends a command with a message, and returns how many lines of the source were sent
// until then.
func (x *pusher) message(conn *redisconn.Conn, source int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := &x.all[source]
	few := 1 + rand.IntN(5)
	text := load.Seed(0).Block(nil, x.first+source, at.sent, few)
	at.sent += few
	conn.Begin(len(x.command) + 1)
	for _, part := range x.command {
		conn.Add(part)
	}
	conn.AddBytes(text)
	return at.sent
}

// count adds what was sent, and what of it was confirmed.
func (x *pusher) count(written, kept map[int]int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, s := range x.all {
		if s.sent > 0 {
			written[x.first+i], kept[x.first+i] = s.sent, s.acked
		}
	}
}
