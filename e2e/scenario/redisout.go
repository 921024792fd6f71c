package scenario

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/rig"
)

// RedisOut kills redis, the collector, and both, while all lines go out to a stream and to a
// list of a redis that syncs each write. In the end both have what the log has: each line
// once, in its order.
func (p *Programs) RedisOut(n int) (*Result, error) {
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
	table := fmt.Sprintf("[[collector.redis]]\nurl = %q\n[collector.redis.output]\nfrom = \"start\"\n", redis.URL)
	d, err := p.begin(plan{name: "redis out, kill", few: true,
		log: rotating + table + "stream = \"s\"\n" + table + "list = \"l\"\ngroup = \"list\"\n"})
	if err != nil {
		return nil, err
	}
	d.endTail()
	for range n {
		moment(300 * time.Millisecond)
		if err := d.strikeRedis(redis); err != nil {
			d.fail(err)
			break
		}
	}
	d.fail(d.settleRedis(redis))
	r, err := d.end(n)
	if err == nil {
		os.RemoveAll(dir)
	}
	return r, err
}

// strikeRedis kills redis, the collector or both, and starts what it killed again.
func (d *day) strikeRedis(redis *rig.Redis) error {
	what := rand.IntN(3)
	var all sync.WaitGroup
	if what != 0 {
		all.Go(redis.Kill)
	}
	if what != 1 {
		all.Go(d.collector.Kill)
	}
	all.Wait()
	moment(100 * time.Millisecond)
	var errs [2]error
	if what != 0 {
		all.Go(func() { errs[0] = redis.Start() })
	}
	if what != 1 {
		all.Go(func() { errs[1] = d.collector.Start() })
	}
	all.Wait()
	return errors.Join(errs[:]...)
}

// settleRedis waits until all lines have gone out, and compares what is there with the log.
func (d *day) settleRedis(redis *rig.Redis) error {
	d.still()
	if d.err != nil {
		return nil
	}
	if err := d.finished([]*gang{{group: "redis"}, {group: "list"}}, 2*time.Minute); err != nil {
		return err
	}
	if _, err := d.collector.Stop(); err != nil { // so that no line comes in between
		return err
	}
	stream := check.Copy{Log: d.collector.Log, State: d.collector.State, Next: entries(redis, "s")}
	list := check.Copy{Log: d.collector.Log, State: d.collector.State, Next: elements(redis, "l")}
	_, err := stream.Check()
	_, err2 := list.Check()
	return errors.Join(err, err2, d.collector.Start())
}

// entries returns the entries of a stream as lines of a log, with their positions.
func entries(redis *rig.Redis, stream string) func() (line, position string, err error) {
	var some []string
	from := "-"
	return func() (string, string, error) {
		const fields = 11 // the id, and five names and values
		if len(some) == 0 {
			var err error
			if some, err = redis.Do("XRANGE", stream, from, "+", "COUNT", "1000"); err != nil {
				return "", "", err
			}
			if len(some) == 0 {
				return "", "", io.EOF
			}
			if len(some)%fields != 0 {
				return "", "", fmt.Errorf("%d fields of entries", len(some))
			}
			from = "(" + some[len(some)-fields]
		}
		e := some[:fields]
		some = some[fields:]
		return fmt.Sprintf("%s %s %s: %s", e[8], e[4], e[6], e[10]), strings.Replace(e[0], "-", ":", 1), nil
	}
}

// elements returns the elements of a list.
func elements(redis *rig.Redis, list string) func() (line, position string, err error) {
	var some []string
	from := 0
	return func() (string, string, error) {
		if len(some) == 0 {
			var err error
			if some, err = redis.Do("LRANGE", list, fmt.Sprint(from), fmt.Sprint(from+999)); err != nil {
				return "", "", err
			}
			if len(some) == 0 {
				return "", "", io.EOF
			}
			from += len(some)
		}
		line := some[0]
		some = some[1:]
		return line, "", nil
	}
}
