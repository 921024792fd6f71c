package datagram

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

// recorder is an Appender that records.
type recorder struct {
	mu      sync.Mutex
	batches []wire.Batch
}

func (r *recorder) Append(_ context.Context, b wire.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	b.Text, b.Marks = bytes.Clone(b.Text), slices.Clone(b.Marks)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, b)
	return nil
}

func setUp(l *Listener) *Listener {
	l.setUp()
	return l
}

// lossy returns an addition of lines of a lossy stream.
func lossy(b wire.Batch, lines int) *addition {
	return &addition{key: key{stream: b.Stream}, in: new(counters.Set).New("udp-agent", counters.None), lines: lines, batch: b}
}

// Lossy datagrams become one batch only where nothing is missing between them.
func TestContinuedBy(t *testing.T) {
	first := wire.Batch{Kind: wire.StreamLossy, Stream: wire.StreamID{1}, Agent: "a", Host: "h", Source: "s", Epoch: 1,
		Offset: 10, End: 14, After: 5, FirstLine: 3, Text: []byte("x\ny\n")}
	f := func(change func(next *wire.Batch), want int) {
		t.Helper()
		q := newQueue(setUp(new(Listener)))
		q.add(lossy(first, 2))
		next := first
		next.Offset, next.End, next.Before, next.After, next.FirstLine = 14, 16, 5, 6, 5
		next.Text = []byte("z\n")
		change(&next)
		q.add(lossy(next, 1))
		got := q.filling.hosts[key{stream: first.Stream}].batches
		if len(got) != want {
			t.Fatalf("%d batches, want %d", len(got), want)
		}
		if last := got[len(got)-1]; last.End != next.End || last.After != next.After || !bytes.HasSuffix(last.Text, []byte("z\n")) {
			t.Errorf("last batch %+v", last)
		}
		if got[0].Offset != 10 || got[0].FirstLine != 3 {
			t.Errorf("first batch %+v", got[0])
		}
	}
	f(func(*wire.Batch) {}, 1)
	f(func(b *wire.Batch) { b.Epoch++ }, 2)
	f(func(b *wire.Batch) { b.Offset++ }, 2)
	f(func(b *wire.Batch) { b.Before++ }, 2)
	f(func(b *wire.Batch) { b.FirstLine++ }, 2)
	f(func(b *wire.Batch) { b.Source = "t" }, 2)
}

// A batch is joined as soon as one of its lines is a record, and its space is for its
// attributes, too.
func TestQueueRecords(t *testing.T) {
	q := newQueue(setUp(new(Listener)))
	in := new(counters.Set).New("gelf", counters.None)
	add := func(text string, attributes wire.Attributes) {
		q.add(&addition{key: key{host: netip.AddrFrom4([4]byte{192, 0, 2, 1})}, in: in, lines: 1, labels: wire.Labels{Attributes: attributes},
			batch: wire.Batch{Text: []byte(text), Joined: wire.IsRecord([]byte(text))}})
	}
	add("plain", "")
	add("two\xc0\x8alines", "")
	batches := q.filling.last.batches
	if len(batches) != 1 || !batches[0].Joined || string(batches[0].Text) != "plain\ntwo\xc0\x8alines\n" {
		t.Errorf("%d batches, the first %+v", len(batches), batches[0].Batch)
	}
	for i := range 10 {
		value, _ := wire.AppendAttribute(nil, "n", bytes.Repeat([]byte{'0' + byte(i)}, 2000))
		add("x", wire.Attributes(value))
	}
	for _, b := range q.filling.last.batches {
		if held := len(b.Text) + b.LabelBytes(); held > cap(b.Text) {
			t.Errorf("a batch of %d bytes has a block of %d", held, cap(b.Text))
		}
	}
}

// The lines of each host stay in order while hosts take turns and blocks fill up.
func TestQueueOrder(t *testing.T) {
	r := new(recorder)
	l := setUp(&Listener{Out: r})
	q := newQueue(l)
	s := newSocket(l, q)
	in := new(counters.Set).New("udp", counters.None)
	for i := range 9000 {
		host := fmt.Sprint("h", i%3)
		d := &Datagram{Peer: netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 3)})}
		s.AddLines(in, d, wire.Labels{Host: host}, fmt.Appendf(nil, "%s %06d", host, i))
	}
	q.close()
	q.run()
	last, n := map[string]string{}, 0
	for _, b := range r.batches {
		for line := range strings.Lines(string(b.Text)) {
			host, number, _ := strings.Cut(line, " ")
			if number <= last[host] || host != b.Host {
				t.Fatalf("%s after %s of %s", line, last[host], b.Host)
			}
			last[host] = number
			n++
		}
	}
	if n != 9000 || q.budget.Used() != 0 {
		t.Errorf("%d lines, %d bytes not released", n, q.budget.Used())
	}
}

// Datagrams of one host whose labels differ stay in one batch, in their order, each
// line with its labels. What the labels take is part of the queue's memory.
func TestQueueLabels(t *testing.T) {
	r := new(recorder)
	l := setUp(&Listener{Out: r})
	q := newQueue(l)
	s := newSocket(l, q)
	q.hint = maxText // as when many lines come
	in := new(counters.Set).New("udp", counters.None)
	d := &Datagram{Peer: netip.AddrFrom4([4]byte{192, 0, 2, 1})}
	const lines = 3 * wire.MaxMarks
	start := time.Unix(1e9, 0)
	label := func(i int) wire.Labels {
		return wire.Labels{Host: "h", Source: fmt.Sprint("s", i/2), Time: start.Add(time.Duration(i/2) * time.Second)}
	}
	for i := range lines {
		s.AddLines(in, d, label(i), fmt.Appendf(nil, "%06d", i))
	}
	if h := q.filling.hosts[key{host: d.Peer}]; len(h.batches) > 4 {
		t.Errorf("%d lines are in %d batches", lines, len(h.batches))
	}
	for _, b := range q.filling.hosts[key{host: d.Peer}].batches {
		if n := len(b.Text) + b.LabelBytes(); n > cap(b.Text)+2*markBytes {
			t.Errorf("a block of %d bytes stands for %d bytes of text and labels", cap(b.Text), n)
		}
	}
	q.close()
	q.run()
	i := 0
	for _, b := range r.batches {
		for labels, text := range b.Runs() {
			for line := range strings.Lines(string(text)) {
				if want := label(i); line != fmt.Sprintf("%06d\n", i) || labels.Source != want.Source || !labels.Time.Equal(want.Time) {
					t.Fatalf("line %d is %q with %+v, want labels %+v", i, line, labels, want)
				}
				i++
			}
		}
	}
	if i != lines {
		t.Errorf("%d lines, want %d", i, lines)
	}
}

// What finds no memory when a shutdown is given up is dropped, and counted.
func TestQueueGivenUp(t *testing.T) {
	l := setUp(&Listener{Out: new(recorder), QueueBytes: 1})
	q := newQueue(l)
	s := newSocket(l, q)
	in := new(counters.Set).New("udp", counters.None)
	for i := range byte(2) {
		s.AddLines(in, &Datagram{Peer: netip.AddrFrom4([4]byte{192, 0, 2, i})}, wire.Labels{Host: "h"}, []byte("one\ntwo"))
		l.giveUp()
	}
	if n := in.Counts(); n.Received != 4 || n.Dropped != 2 {
		t.Errorf("%d lines received, %d dropped; want 4 and 2", n.Received, n.Dropped)
	}
	q.close()
	q.run()
}

// The kernel counts modulo 2^32.
func TestDropsWrap(t *testing.T) {
	d := &dropCounter{l: setUp(new(Listener)), socket: &Shared{drops: math.MaxUint32 - 1}}
	d.countKernelLocked(3)
	if d.countKernelLocked(3); d.socket.drops != 3 {
		t.Errorf("the last count is %d", d.socket.drops)
	}
}

// The names of a peer are its address, and the network that counts as one sender.
func TestNames(t *testing.T) {
	const network = "2001:db8:0:1::/64"
	want := Names{"2001:db8:0:1::9", network}
	if got := newSocket(new(Listener), nil).Names(netip.MustParseAddr("2001:db8:0:1::9")); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestLossyAllocates nothing for a datagram whose lines have the batch's labels.
func TestLossyAllocates(t *testing.T) {
	q := newQueue(setUp(&Listener{Out: nothing{}}))
	in := new(counters.Set).New("udp-agent", counters.None)
	a := addition{in: in, lines: 1, batch: wire.Batch{Kind: wire.StreamLossy, Epoch: 1, Text: []byte("a\n")}}
	allocs := testing.AllocsPerRun(1000, func() {
		a.batch.Offset, a.batch.FirstLine = a.batch.End, a.batch.FirstLine+1
		a.batch.End += int64(len(a.batch.Text))
		q.add(&a)
	})
	if n := len(q.filling.hosts[key{}].batches); allocs > 0 || n != 1 {
		t.Errorf("%v allocations for a datagram, in %d batches", allocs, n)
	}
}
