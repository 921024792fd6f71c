package collector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/cluster"
	"fanin/internal/config"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/distribute/protocol"
)

// here is the distributor of a partition whose lines are handed out to a group here; nil: elsewhere.
func (h *handout) here(p int, group string) *distribute.Distributor {
	h.mu.Lock()
	l := h.logs[p]
	h.mu.Unlock()
	if l == nil || !l.serves(group) {
		return nil
	}
	return l.d
}

// places are where the partitions are handed out to a worker's group.
func (h *handout) places(ctx context.Context, hello *protocol.Hello) (protocol.Places, error) {
	all := protocol.Places{Cluster: h.c.Name, Partitions: h.c.Partitions}
	err := h.join(ctx, hello.Group, hello.From)
	if refused := (*refusedGroup)(nil); errors.As(err, &refused) {
		return all, err
	}
	peers := make(map[string]cluster.Peer)
	for _, p := range h.c.Peers() {
		peers[p.ID] = p
	}
	for p := range h.c.Partitions {
		x := protocol.Place{Partition: p}
		if err != nil { // which passes, and is no refusal: that would end a worker
			x.Reason = err.Error()
		} else {
			x.Address, x.Reason = h.place(p, hello.Group, peers)
		}
		all.At = append(all.At, x)
	}
	return all, nil
}

// place is where a partition is handed out to a group, or why it is not.
func (h *handout) place(p int, group string, peers map[string]cluster.Peer) (address, reason string) {
	groups, _, _ := h.c.Groups(p)
	g, ok := groups[group]
	if !ok {
		return "", "it is not known yet where the group is"
	}
	now, _ := tenuresFrom(h.c.Tenures(p), g.Epoch)
	if now == nil {
		return "", "no collector owns the partition yet"
	}
	return placeOf(now, peers)
}

// placeOf is where the lines of a tenure are handed out, or why they are not.
func placeOf(t *cluster.Tenure, peers map[string]cluster.Peer) (address, reason string) {
	switch peer := peers[t.Owner]; {
	case !peer.Alive:
		return "", fmt.Sprintf("the lines of epoch %d are on the disk of the member %s, which is away", t.Epoch,
			t.Owner)
	case peer.Work == "":
		return "", fmt.Sprintf("the lines of epoch %d are on the disk of the member %s, which has no [collector.work]",
			t.Epoch, t.Owner)
	default:
		return peer.Work, ""
	}
}

// join makes a group in all partitions in which it is new.
func (h *handout) join(ctx context.Context, name, from string) error {
	names, missing := make(map[string]bool), 0
	for p := range h.c.Partitions {
		groups, _, ok := h.c.Groups(p)
		if !ok {
			return errNotInTouch
		}
		for n := range groups {
			names[n] = true
		}
		if _, ok := groups[name]; !ok {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	if !h.c.Settled() {
		return fmt.Errorf("it is not known yet whether group %s is new", name)
	}
	if most := config.Or(h.c.settings.Collector.Work.MaxGroups, defaultGroups); !names[name] && len(names) >= most {
		return &refusedGroup{fmt.Errorf("group %s is new, and there are %d already, the bound max_groups; remove one "+
			"with `fanin-collector forget --group NAME`", name, most)}
	}
	from, err := groupFrom(from)
	if err != nil {
		return &refusedGroup{fmt.Errorf("group %s is new, and cannot begin at %q: %w", name, from, err)}
	}
	return h.begin(ctx, name, from, false)
}

// refusedGroup is why a group is not made, also if the worker asks again.
type refusedGroup struct{ error }

var errNotInTouch = errors.New("this collector is not in touch with its cluster; try again")

// groupFrom is a Group.From: "end", a time, or "" for the start.
func groupFrom(from string) (string, error) {
	switch from {
	case "", cluster.EndOfTenure:
		return cluster.EndOfTenure, nil
	case "start":
		return "", nil
	}
	if _, err := sink.ParsePosition(from); err == nil {
		return from, errors.New("a position is one in a single log, and a cluster has several: want start, end, a " +
			"time, or a duration before now")
	}
	t, err := sink.ParseTime(from, time.Now())
	if err != nil {
		return from, err
	}
	return t.UTC().Format(time.RFC3339Nano), nil
}

// begin writes where a group begins, in all partitions; with again also where it is already.
func (h *handout) begin(ctx context.Context, name, from string, again bool) error {
	id := wire.NewStreamID().String()[:12]
	for p := range h.c.Partitions {
		g := cluster.Group{ID: id, From: from}
		if from == cluster.EndOfTenure {
			g.Epoch, g.From = endOf(h.c.Tenures(p))
		}
		if err := h.beginIn(ctx, p, name, g, again); err != nil {
			return err
		}
	}
	return nil
}

// beginIn is begin in one partition. With again, it tries again when another member has changed the record: its
// owner notes there how far the group is.
func (h *handout) beginIn(ctx context.Context, p int, name string, g cluster.Group, again bool) error {
	groups, _, _ := h.c.Groups(p)
	first, ok := groups[name]
	if ok && !again {
		return nil
	}
	for before := first; ; {
		err := h.c.PutGroup(ctx, p, name, before, g)
		if !errors.Is(err, cluster.ErrGroupChanged) {
			return err
		}
		if !again {
			return nil
		}
		pause(ctx, lookAtGroups)
		groups, forgotten, _ := h.c.Groups(p)
		before = groups[name]
		if err := stays(first, before, forgotten[name]); err != nil {
			return err
		}
	}
}

// stays is why a record that has changed is not that of the group as it was seen first: the group was forgotten, or
// moved by another replay.
func stays(first, now cluster.Group, forgotten bool) error {
	switch {
	case now.ID == first.ID && !forgotten:
		return nil
	case forgotten:
		return distribute.ErrNoGroup
	default:
		return cluster.ErrGroupChanged
	}
}

// endOf is where a group begins that gets nothing that is there already.
func endOf(tenures []cluster.Tenure) (epoch uint64, from string) {
	if len(tenures) == 0 {
		return 0, ""
	}
	last := tenures[len(tenures)-1]
	if last.End != "" {
		return last.Epoch + 1, ""
	}
	return last.Epoch, cluster.EndOfTenure
}
