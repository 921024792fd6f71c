package collector

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"fanin/internal/access"
	"fanin/internal/cluster"
	"fanin/internal/natsconn"
)

// recoveries are the partitions of which lost logs are being made again.
type recoveries struct {
	mu  sync.Mutex
	all map[int]*recovery
}

// recovery is one of them.
type recovery struct {
	ended chan struct{}
	done  []salvaged // good to read when ended is closed, as is err
	err   error
}

// recovered is the answer to POST /cluster/recover.
type recovered struct {
	Running bool       `json:"running"` // ask again
	Tenures []salvaged `json:"tenures"`
}

// recoverWait is for how long one request waits.
const recoverWait = 5 * time.Second

// recoverPartition makes the logs of earlier owners of a partition again that were lost with their disks.
// Its owner is asked, again and again until it is done.
func (c *member) recoverPartition(ctx context.Context, q url.Values) (any, error) {
	p, err := strconv.Atoi(q.Get("partition"))
	if err != nil || p < 0 || p >= c.Partitions {
		return nil, fmt.Errorf("partition %q: the cluster has the partitions 0 to %d", q.Get("partition"),
			c.Partitions-1)
	}
	x, err := c.recovery(ctx, p)
	if err != nil {
		return nil, err
	}
	select {
	case <-x.ended:
		c.recovered.mu.Lock()
		defer c.recovered.mu.Unlock()
		delete(c.recovered.all, p)
		return recovered{Tenures: x.done}, x.err
	case <-time.After(recoverWait):
		return recovered{Running: true}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// recovery is the one of a partition, which is begun if it does not run.
func (c *member) recovery(ctx context.Context, p int) (*recovery, error) {
	c.recovered.mu.Lock()
	defer c.recovered.mu.Unlock()
	if x := c.recovered.all[p]; x != nil {
		return x, nil
	}
	s := c.parts()[p]
	if s == nil || !s.isOpen() || s.partition.own == nil || s.partition.own.Lost() {
		return nil, c.elsewhere(p)
	}
	k := s.partition.keep
	if k == nil {
		return nil, errors.New("without [collector.archive], the stream keeps nothing of what was lost")
	}
	c.log.Info("was told to recover a partition", "partition", p, "by", author(access.From(ctx)))
	x := &recovery{ended: make(chan struct{})}
	if c.recovered.all == nil {
		c.recovered.all = make(map[int]*recovery)
	}
	c.recovered.all[p] = x
	k.saving.Go(func() { // ends with the partition, or when it is done
		defer close(x.ended)
		if x.done, x.err = c.salvage(k.life, s); x.err != nil {
			c.log.Error("what was lost of a partition was not recovered", "partition", p, "err", x.err)
		}
	})
	return x, nil
}

// elsewhere says which member has a partition.
func (c *member) elsewhere(p int) error {
	owner := c.Owner(p)
	for _, peer := range c.Peers() {
		if peer.ID == owner {
			return fmt.Errorf("the owner of partition %d is the member %s on %s: ask that one", p, peer.ID, peer.Host)
		}
	}
	return fmt.Errorf("partition %d has no owner now: ask again later", p)
}

// salvage makes all logs of earlier tenures again that the archive does not have.
func (c *member) salvage(ctx context.Context, s *server) (done []salvaged, err error) {
	k := s.partition.keep
	stream, err := k.lookUp(ctx)
	if err != nil {
		return nil, err
	}
	if !natsconn.Keeps(stream) {
		return nil, fmt.Errorf("the stream %s removes messages when they are acknowledged: nothing can be recovered",
			k.name)
	}
	lost, err := k.missing(ctx, stream, make(map[uint64]bool))
	if err != nil {
		return nil, err
	}
	for _, t := range lost {
		if c.lives(&t) {
			return done, fmt.Errorf("the collector of epoch %d, %s, lives: it copies its log to the archive itself",
				t.Epoch, t.Owner)
		}
		x := &salvage{c: c, own: s, keep: k, lost: t, all: k.own.Tenures()}
		one, err := x.run(ctx)
		if err != nil {
			return done, fmt.Errorf("epoch %d: %w", t.Epoch, err)
		}
		c.log.Info("recovered what was lost of a partition", "partition", k.own.Partition, "epoch", t.Epoch, "lines",
			one.Lines)
		done = append(done, one)
	}
	return done, nil
}

// lives reports whether the collector of a tenure is there.
func (c *member) lives(t *cluster.Tenure) bool {
	for _, p := range c.Peers() {
		if p.ID == t.Owner && p.Alive {
			return true
		}
	}
	return false
}
