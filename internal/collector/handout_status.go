package collector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/access"
	"fanin/internal/cluster"
	"fanin/internal/escape"
	"fanin/sink/distribute"
)

// clusterGroup is a group of workers over all partitions: the sums, and what each partition has.
type clusterGroup struct {
	distribute.GroupStatus
	Partitions []partitionGroup `json:"partitions,omitempty"`
}

// partitionGroup is a group in one partition, in the log of one member.
type partitionGroup struct {
	Partition int    `json:"partition"`
	Member    string `json:"member,omitempty"`
	Epoch     uint64 `json:"epoch,omitempty"` // of the tenure whose lines it gets; 0: it waits for earlier ones
	Waits     string `json:"waits,omitempty"` // why it gets none
	distribute.GroupStatus
}

// memberGroups is what a member tells another one of groups and workers.
type memberGroups struct {
	Groups  []partitionGroup          `json:"groups"`
	Workers []distribute.WorkerStatus `json:"workers"`
}

var errNoClusterWork = errors.New("this member of the cluster has no [collector.work]")

// askWithin is how long the members have to answer.
const askWithin = 2 * time.Second

func (h *handout) subject() string { return "_FANIN.cluster." + h.c.Name + ".groups" }

// answer answers other members what this one has.
func (h *handout) answer(m *nats.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	if b, err := json.Marshal(h.mine(ctx)); err == nil {
		m.Respond(b) // a member without an answer is named
	}
}

// mine is what the logs that are open here have.
func (h *handout) mine(ctx context.Context) (x memberGroups) {
	h.mu.Lock()
	logs := make([]*groupLog, 0, len(h.logs))
	for _, l := range h.logs {
		logs = append(logs, l)
	}
	h.mu.Unlock()
	for _, l := range logs {
		list, err := l.d.Groups(ctx)
		if err != nil {
			continue // it is closing
		}
		for _, g := range list {
			x.Groups = append(x.Groups, partitionGroup{Partition: l.p, Member: h.c.ID, Epoch: l.epoch(g.Group),
				GroupStatus: g})
		}
		x.Workers = append(x.Workers, l.d.Workers()...)
	}
	return x
}

// ask asks all members.
func (h *handout) ask(ctx context.Context) (all memberGroups, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	inbox := h.c.conn.NewInbox()
	answers, err := h.c.conn.SubscribeSync(inbox)
	if err != nil {
		return all, err
	}
	defer answers.Unsubscribe()
	if err := h.c.conn.PublishRequest(h.subject(), inbox, nil); err != nil {
		return all, err
	}
	left := 0
	for _, p := range h.c.Peers() {
		if p.Alive && p.Work != "" {
			left++
		}
	}
	for ; left > 0; left-- {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			break // what is missing is named as waiting
		}
		var x memberGroups
		if json.Unmarshal(m.Data, &x) == nil {
			all.Groups, all.Workers = append(all.Groups, x.Groups...), append(all.Workers, x.Workers...)
		}
	}
	return all, nil
}

// groups are all groups, over all partitions.
func (c *member) groups(ctx context.Context) ([]clusterGroup, error) {
	h := c.handout
	if h == nil {
		return nil, errNoClusterWork
	}
	all, err := h.ask(ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*clusterGroup)
	get := func(name string) *clusterGroup {
		if byName[name] == nil {
			byName[name] = &clusterGroup{GroupStatus: distribute.GroupStatus{Group: name}}
		}
		return byName[name]
	}
	for i := range all.Groups {
		get(all.Groups[i].Group).add(&all.Groups[i])
	}
	h.addWaiting(get)
	list := []clusterGroup{}
	for _, g := range byName {
		slices.SortFunc(g.Partitions, func(a, b partitionGroup) int {
			return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Member, b.Member))
		})
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b clusterGroup) int { return cmp.Compare(a.Group, b.Group) })
	return list, nil
}

// addWaiting adds the partitions whose lines no member hands out now.
func (h *handout) addWaiting(get func(name string) *clusterGroup) {
	peers := make(map[string]cluster.Peer)
	for _, p := range h.c.Peers() {
		peers[p.ID] = p
	}
	for p := range h.c.Partitions {
		groups, _, _ := h.c.Groups(p)
		for name := range groups {
			if address, why := h.place(p, name, peers); address == "" {
				g := get(name)
				g.Partitions = append(g.Partitions, partitionGroup{Partition: p, Waits: why})
			}
		}
	}
}

// add adds what a partition has.
func (g *clusterGroup) add(x *partitionGroup) {
	g.Partitions = append(g.Partitions, *x)
	g.Workers = max(g.Workers, x.Workers)
	g.Key = cmp.Or(g.Key, x.Key)
	g.LagLines, g.LagBytes, g.LagSeconds = g.LagLines+x.LagLines, g.LagBytes+x.LagBytes, max(g.LagSeconds, x.LagSeconds)
	g.InFlight, g.Waiting = g.InFlight+x.InFlight, g.Waiting+x.Waiting
	g.Accepted, g.Redelivered = g.Accepted+x.Accepted, g.Redelivered+x.Redelivered
	g.Dead, g.Expired = g.Dead+x.Dead, g.Expired+x.Expired
	g.Problems = append(g.Problems, x.Problems...)
}

func (c *member) workers(ctx context.Context) ([]distribute.WorkerStatus, error) {
	if c.handout == nil {
		return nil, errNoClusterWork
	}
	all, err := c.handout.ask(ctx)
	if all.Workers == nil {
		all.Workers = []distribute.WorkerStatus{}
	}
	return all.Workers, err
}

// replay moves a group, in all partitions.
func (c *member) replay(ctx context.Context, q url.Values) (any, error) {
	if c.handout == nil {
		return nil, errNoClusterWork
	}
	name, from := q.Get("group"), q.Get("from")
	if !c.handout.exists(name) {
		return nil, fmt.Errorf("%w: %q", distribute.ErrNoGroup, name)
	}
	begin, err := groupFrom(from)
	if err == nil {
		err = c.handout.begin(ctx, name, begin, true)
	}
	c.log.Info("was told to move a group of workers", "group", name, "from", from, "by", author(access.From(ctx)),
		"error", err)
	return replayed{name, from}, err
}

// forget removes a group, in all partitions.
func (c *member) forget(ctx context.Context, q url.Values) (any, error) {
	if c.handout == nil {
		return nil, errNoClusterWork
	}
	name := q.Get("group")
	if !c.handout.exists(name) {
		return nil, fmt.Errorf("%w: %q", distribute.ErrNoGroup, name)
	}
	var errs []error
	for p := range c.Partitions {
		errs = append(errs, c.ForgetGroup(ctx, p, name))
	}
	err := errors.Join(errs...)
	c.log.Info("was told to forget a group of workers", "group", name, "by", author(access.From(ctx)), "error", err)
	return struct{}{}, err
}

// exists reports whether a partition has a group.
func (h *handout) exists(name string) bool {
	for p := range h.c.Partitions {
		if groups, _, _ := h.c.Groups(p); groups[name].ID != "" {
			return true
		}
	}
	return false
}

// printClusterGroup prints a group; of a cluster, also where it waits.
func printClusterGroup(w io.Writer, g *clusterGroup) {
	if len(g.Partitions) > 0 {
		g.Position = fmt.Sprintf("%d logs", len(g.Partitions))
	}
	printGroup(w, &g.GroupStatus)
	for _, p := range g.Partitions {
		if p.Waits != "" {
			escape.Fprintf(w, "  partition %d WAITS: %s\n", p.Partition, p.Waits)
		}
	}
}
