package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink"
)

// host is a member whose logs are in memory, and what it owns.
type host struct {
	*Member
	conn *nats.Conn
	end  context.CancelFunc
	done chan error

	mu   sync.Mutex
	owns map[int]*Ownership
	fail atomic.Int64 // so many times partition 2 cannot be served
}

func (h *host) serve(ctx context.Context, o *Ownership) (sink.Position, error) {
	at := sink.Position{Generation: 1, Offset: int64(o.Epoch)}
	if o.Partition == 2 && h.fail.Add(-1) >= 0 {
		return at, errors.New("the log cannot be opened")
	}
	if err := o.Begin(ctx, h.ID, at, func() []sink.StreamMark { return nil }, false); err != nil {
		return at, err
	}
	h.mu.Lock()
	h.owns[o.Partition] = o
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.owns, o.Partition)
	return at, nil
}

func (h *host) owned() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.owns))
}

func (h *host) of(p int) *Ownership {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.owns[p]
}

const partitions = 5

func start(t *testing.T, s *natstest.Server, id string, change ...func(*Config)) *host {
	t.Helper()
	c := Config{Name: "LOGS", Partitions: partitions, TakeoverAfter: 2 * time.Second, Create: true, Replicas: 1, ID: id,
		Host: "host-" + id}
	for _, f := range change {
		f(&c)
	}
	h := &host{conn: s.Connect(), done: make(chan error, 1), owns: make(map[int]*Ownership)}
	var err error
	if h.Member, err = New(c, h.conn, discard); err != nil {
		t.Fatal(err)
	}
	h.Serve = h.serve
	ctx, cancel := context.WithCancel(context.Background())
	h.end = cancel
	go func() { h.done <- h.Run(ctx); close(h.done) }() // ends with ctx, or by itself
	t.Cleanup(func() {
		h.end()
		for range h.done {
		}
		h.conn.Close()
	})
	return h
}

// shares waits until the members own the partitions, each one a share of this size.
func shares(t *testing.T, want string, hosts ...*host) {
	t.Helper()
	waittest.UntilEqual(t, "the shares", want, func() string {
		var all []string
		owned := make(map[int]bool)
		for _, h := range hosts {
			all = append(all, fmt.Sprint(len(h.owned())))
			for _, p := range h.owned() {
				owned[p] = true
			}
		}
		slices.Sort(all)
		return fmt.Sprintf("%s of %d", strings.Join(all, "+"), len(owned))
	})
}

func (h *host) stop(t *testing.T) {
	t.Helper()
	h.end()
	if err := <-h.done; err != nil {
		t.Error(err)
	}
}

// Members share the partitions, hand them over when they come, go, or are told to, and each tenure
// ends before the next one begins.
func TestMembers(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a")
	shares(t, "5 of 5", a)
	b := start(t, s, "b")
	shares(t, "2+3 of 5", a, b)
	moved := a.owned()[0]
	if err := b.Move(t.Context(), moved, "host-b"); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the partition that was moved", func() bool { return b.of(moved) != nil })
	if err := a.Move(t.Context(), moved, "c"); !errors.Is(err, ErrNoMember) {
		t.Errorf("moved to no member: %v", err)
	}
	st := b.Status(t.Context())
	if x := st.Partitions[moved]; x.Owner != "b" || !x.Here || x.Epoch == 0 || x.Pinned != "b" || len(st.Peers) != 2 {
		t.Errorf("got %+v of %+v", x, st.Peers)
	}
	a.stop(t)
	shares(t, "5 of 5", b)
	for p := range partitions {
		list := b.of(p).Tenures()
		for i, x := range list[:len(list)-1] {
			if x.End != Moved || x.Epoch >= list[i+1].Epoch {
				t.Errorf("partition %d: %+v", p, list)
			}
		}
	}
	b.stop(t)
}

// A member that is silent is replaced, and does not commit any more, though it still runs.
func TestTakeover(t *testing.T) {
	s := natstest.New(t)
	a, b := start(t, s, "a"), start(t, s, "b")
	shares(t, "2+3 of 5", a, b)
	p := a.owned()[0]
	old := a.of(p)
	a.conn.Close() // it is cut off, and goes on
	shares(t, "5 of 5", b)
	if list := b.of(p).Tenures(); list[len(list)-2].End != Taken {
		t.Errorf("the tenures are %+v", list)
	}
	if err := old.Check(t.Context()); err == nil {
		t.Error("the member that was cut off may still commit")
	}
	b.stop(t)
}

// A member that was away keeps nothing that another one has.
func TestFencedMember(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a")
	shares(t, "5 of 5", a)
	old := a.of(2)
	if _, err := a.store().set(t.Context(), keyOwner+"2", owner{Owner: "x", Run: "x"}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the partition is taken again", func() bool { o := a.of(2); return o != nil && o != old })
	if !old.Lost() || a.of(2).Epoch <= old.Epoch {
		t.Errorf("epoch %d, then %d; lost: %v", old.Epoch, a.of(2).Epoch, old.Lost())
	}
	a.stop(t)
}

// When the bucket is deleted, the members make it again, and keep what they own.
func TestBucketDeleted(t *testing.T) {
	s := natstest.New(t)
	a, b := start(t, s, "a"), start(t, s, "b")
	shares(t, "2+3 of 5", a, b)
	before := fmt.Sprint(a.owned(), b.owned())
	if err := s.JetStream(s.Connect()).DeleteKeyValue(t.Context(), "fanin-LOGS"); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the records are there again", func() bool {
		st := a.Status(t.Context())
		owners := 0
		for _, p := range st.Partitions {
			if p.Owner != "" {
				owners++
			}
		}
		return owners == partitions && len(st.Peers) == 2
	})
	shares(t, "2+3 of 5", a, b)
	t.Logf("owned %s, then %v %v", before, a.owned(), b.owned())
	a.stop(t)
	shares(t, "5 of 5", b)
	b.stop(t)
}

// A collector with another number of partitions is refused, and so is one whose state was copied.
func TestMemberRefused(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a")
	shares(t, "5 of 5", a)
	other := start(t, s, "b", func(c *Config) { c.Partitions = 8 })
	if err := <-other.done; !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "has partitions = 5") {
		t.Errorf("another number of partitions: %v", err)
	}
	start(t, s, "a")
	if err := <-a.done; !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "its state was copied") {
		t.Errorf("a copied state: %v", err)
	}
}

// The bucket has the owner's tenures again when an older list came over them, and an older list does
// not come over a newer one.
func TestTenuresShown(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a")
	shares(t, "5 of 5", a)
	list := a.of(2).Tenures()
	key := keyTenures + "2"
	a.show(2, []Tenure{{Epoch: list[0].Epoch - 1, Owner: "x", Log: "x", From: "1:0"}})
	if got, _, err := a.store().tenures(t.Context(), key); err != nil || !slices.Equal(got, list) {
		t.Fatalf("an older list is there: %+v, %v", got, err)
	}
	if _, err := a.store().set(t.Context(), key, []Tenure{{Epoch: 1, Owner: "x", Log: "x", From: "1:0"}}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the owner's tenures", func() bool {
		got, _, err := a.store().tenures(t.Context(), key)
		return err == nil && slices.Equal(got, list)
	})
	a.stop(t)
}

// A partition that cannot be served ends neither the collector nor the other partitions, and is tried
// again.
func TestPartitionFails(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a", func(c *Config) { c.TakeoverAfter = time.Second })
	shares(t, "5 of 5", a)
	other := a.of(1)
	a.fail.Store(2)
	if _, err := a.store().set(t.Context(), keyOwner+"2", owner{Owner: "x", Run: "x"}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the partition failed twice", func() bool { return a.fail.Load() < 0 })
	shares(t, "5 of 5", a)
	if a.of(1) != other || other.Lost() {
		t.Error("another partition did not go on")
	}
	a.stop(t)
}
