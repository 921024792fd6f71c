package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Status is the cluster as a member sees it.
type Status struct {
	Cluster    string            `json:"cluster"`
	Member     string            `json:"member"` // the one that is asked
	Trouble    string            `json:"trouble,omitempty"`
	Peers      []Peer            `json:"members"`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is one partition.
type PartitionStatus struct {
	Partition int    `json:"partition"`
	Owner     string `json:"owner"` // the member; "": none now
	Host      string `json:"host,omitempty"`
	Epoch     uint64 `json:"epoch"`
	Here      bool   `json:"here"`             // the member that is asked has it
	Pinned    string `json:"pinned,omitempty"` // the member that it was moved to by hand
	Lag       uint64 `json:"lag"`              // messages in the stream that are not in the log
	LagKnown  bool   `json:"lag_known"`
}

// Status asks for the lag of all partitions, and returns the rest as it is known.
func (m *Member) Status(ctx context.Context) Status {
	lags := m.lags(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	st := Status{Cluster: m.Name, Member: m.ID, Trouble: m.trouble, Peers: m.peersLocked(time.Now())}
	for p := range m.Partitions {
		x := PartitionStatus{Partition: p, Owner: m.dir.owners[p].Owner, Pinned: m.dir.pins[p]}
		if peer := m.dir.peers[x.Owner]; peer != nil {
			x.Host = peer.Host
		}
		if t := m.dir.tenures[p]; len(t) > 0 {
			x.Epoch = t[len(t)-1].Epoch
		}
		if h := m.held[p]; h != nil {
			if o := h.own.Load(); o != nil && !o.Lost() {
				x.Here, x.Epoch = true, o.Epoch
			}
		}
		x.Lag, x.LagKnown = lags[p]
		st.Partitions = append(st.Partitions, x)
	}
	return st
}

// Owner is the member that owns a partition; "": none does now.
func (m *Member) Owner(partition int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dir.owners[partition].Owner
}

// Trouble is why the member is not in touch with its cluster; "" while it is.
func (m *Member) Trouble() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trouble
}

// Peers are the members of the cluster, by id.
func (m *Member) Peers() []Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peersLocked(time.Now())
}

func (m *Member) peersLocked(now time.Time) []Peer {
	var list []Peer
	for id, p := range m.dir.peers {
		x := p.Peer
		x.Alive = m.dir.alive(id, now)
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Peer) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Tenures are the tenures of a partition, as the bucket has them.
func (m *Member) Tenures(partition int) []Tenure {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dir.tenures[partition])
}

// lags are how many messages each partition has in the stream, as far as its consumer is known.
func (m *Member) lags(ctx context.Context) map[int]uint64 {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	lags := make(map[int]uint64)
	stream, err := m.js.Stream(ctx, m.Name)
	if err != nil {
		return lags
	}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		text, ok := strings.CutPrefix(info.Name, "fanin-")
		digits, _, _ := strings.Cut(text, "-")
		if p, err := strconv.Atoi(digits); ok && err == nil {
			lags[p] = info.NumPending + uint64(info.NumAckPending)
		}
	}
	return lags
}

// ErrNoMember is of a move to a member that is not there.
var ErrNoMember = errors.New("no such member")

// Move moves a partition to a member, by its id or its host, and keeps it there while that member
// lives; "auto" leaves the place to the cluster again.
func (m *Member) Move(ctx context.Context, partition int, to string) error {
	if partition < 0 || partition >= m.Partitions {
		return fmt.Errorf("partition %d: the cluster has the partitions 0 to %d", partition, m.Partitions-1)
	}
	key := fmt.Sprintf("%s%d", keyPin, partition)
	m.mu.Lock()
	b := m.bucket
	m.mu.Unlock()
	if b == nil {
		return errOutOfTouch
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if to == "auto" {
		if err := b.kv.Delete(ctx, key); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("move partition %d: %w", partition, err)
		}
		return nil
	}
	var found []string
	for _, p := range m.Peers() {
		if (p.ID == to || p.Host == to) && p.Alive && !p.Leaving {
			found = append(found, p.ID)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("%q names %d members that live: name one by its id, see fanin-collector cluster: %w", to,
			len(found), ErrNoMember)
	}
	if _, err := b.set(ctx, key, pin{found[0]}); err != nil {
		return fmt.Errorf("move partition %d: %w", partition, err)
	}
	return nil
}

// counts are the metrics of a member.
type counts struct {
	planned, taken, fenced prometheus.Counter
}

func newCounts() counts {
	claims := func(how string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "fanin_cluster_claims_total",
			Help:        "Partitions that this collector began to own, by whether the owner before was silent.",
			ConstLabels: prometheus.Labels{"how": how}})
	}
	return counts{claims("planned"), claims("taken"), prometheus.NewCounter(prometheus.CounterOpts{
		Name: "fanin_cluster_fenced_total",
		Help: "Partitions that this collector gave up because another one owned them."})}
}

func (c *counts) claimed(taken bool) {
	if taken {
		c.taken.Inc()
		return
	}
	c.planned.Inc()
}

// Describe sends nothing: what is collected describes itself.
func (m *Member) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Member) Collect(out chan<- prometheus.Metric) {
	out <- m.counts.planned
	out <- m.counts.taken
	out <- m.counts.fenced
	gauge := func(name, help string, v float64, labels prometheus.Labels) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), prometheus.GaugeValue, v)
	}
	alive := 0
	for _, p := range m.Peers() {
		if p.Alive {
			alive++
		}
	}
	gauge("fanin_cluster_members", "Collectors of the cluster that live, as this one sees it.", float64(alive), nil)
	m.mu.Lock()
	epochs := make(map[int]uint64)
	for p, h := range m.held {
		if o := h.own.Load(); o != nil && !o.Lost() {
			epochs[p] = o.Epoch
		}
	}
	m.mu.Unlock()
	gauge("fanin_cluster_partitions", "Partitions that this collector owns.", float64(len(epochs)), nil)
	for p, epoch := range epochs {
		gauge("fanin_cluster_epoch", "The epoch of each partition that this collector owns.", float64(epoch),
			prometheus.Labels{"partition": strconv.Itoa(p)})
	}
}
