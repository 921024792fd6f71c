package distribute

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
	"fanin/sink/line"
)

// TestKeys: with a key, lines of one source are at one worker at a time and are
// accepted in order, each once, while workers come, go and fail.
func TestKeys(t *testing.T) {
	b := openNew(t, Settings{Attempts: 100})
	var mu sync.Mutex
	at := make(map[string]int) // by source: workers that process a line of it
	accepted := make(map[string]int)
	var stops []func()
	start := func() {
		given := make(map[uint64][]string)
		last := make(map[string]int)
		w := &worker.Worker{Options: protocol.Hello{Group: "g", From: "start", Key: "source", Credit: 50, Batch: 7}}
		w.Handle = func(ctx context.Context, d *worker.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			for _, line := range d.Lines() {
				given[d.N] = append(given[d.N], string(line.Text))
			}
			for i, line := range d.Lines() {
				source := string(b.sink.Parts(line.Text).Source)
				if at[source]++; at[source] > 1 {
					t.Errorf("two workers have lines of %s", source)
				}
				mu.Unlock()
				if rand.IntN(4) == 0 { // leaves others time to break the rule
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
				}
				mu.Lock()
				at[source]--
				if rand.IntN(40) == 0 {
					d.Nack(i, d.Len(), "by lot")
					return nil
				}
				if d.Ack(i, i+1) != nil {
					return nil
				}
			}
			return nil
		}
		w.Accepted = func(n uint64, from, to int) {
			mu.Lock()
			defer mu.Unlock()
			for _, line := range given[n][from:to] {
				f := b.sink.Parts([]byte(line))
				var number int
				fmt.Sscanf(string(f.Body), "%d", &number)
				if before, ok := last[string(f.Source)]; ok && number < before {
					t.Errorf("source %s: %d was accepted after %d", f.Source, number, before)
				}
				last[string(f.Source)] = number
				accepted[string(f.Source)+" "+string(f.Body)]++
			}
		}
		stops = append(stops, b.work(w))
	}
	const sources, each = 20, 300
	start()
	start()
	for i := range each {
		for s := range sources {
			b.put("web", fmt.Sprintf("s%d", s), fmt.Sprint(i))
		}
		switch i {
		case 50, 100, 150:
			start()
		case 120, 200:
			stops[0]()
			stops = stops[1:]
		}
	}
	if g := b.done("g"); g.Accepted != sources*each || g.Redelivered == 0 {
		t.Errorf("%+v", g)
	}
	mu.Lock()
	defer mu.Unlock()
	for line, n := range accepted {
		if n != 1 {
			t.Errorf("line %q was accepted %d times", line, n)
		}
	}
}

// TestKeysJoin: with a key, a new worker receives lines only when nothing is in flight, so
// that no key is at two workers.
func TestKeysJoin(t *testing.T) {
	b := openNew(t, Settings{})
	put := func(i int) {
		for s := range 50 {
			b.put("web", fmt.Sprintf("s%d", s), fmt.Sprint(i))
		}
	}
	put(0)
	first := b.raw(protocol.Hello{Group: "g", From: "start", Key: "source", Credit: 10_000})
	var given []protocol.Frame
	for had := 0; had < 50; { // with some of them still to come, it would not get them before it answers
		f := first.hear(protocol.KindLines)
		had += bytes.Count(f.Text, []byte{'\n'})
		given = append(given, f)
	}
	second := b.raw(protocol.Hello{Group: "g", Key: "source", Credit: 10_000})
	second.hear(protocol.KindWelcome)
	put(1)
	second.nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if f, err := second.r.Frame(); err == nil {
		t.Fatalf("it is given %d bytes while the first has lines without an answer", len(f.Text))
	}
	second.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	second.r = protocol.NewReader(second.nc, 4096)
	for _, f := range given {
		first.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, To: -1})
	}
	if f := second.hear(protocol.KindLines); len(f.Text) == 0 {
		t.Error("it is given nothing")
	}
}

// TestKeysBehind: once a line waits for a worker, those that follow for it wait
// too, whatever room it has by then.
func TestKeysBehind(t *testing.T) {
	b := openNew(t, Settings{})
	g := newGroup(b.dist, "g", sink.Position{Generation: 1})
	match, err := b.sink.Matcher(line.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{group: g, active: true, credit: 100, hello: protocol.Hello{Weight: 1, Batch: 100}, out: outbox{wake: make(chan struct{}, 1)}}
	m.behind.add(span{1, 0, 10, 1, 0})
	g.members, g.terms = []*member{m}, terms{key: "source", match: match}
	g.dealLocked()
	text := []byte("2026-11-22T17:00:00.123456Z web app: line\n")
	used, lines := g.assignLocked(text, sink.Position{Generation: 1, Offset: 50}, sink.Position{Generation: 1, Offset: 50 + int64(len(text))}, 0, nil)
	if int(used) != len(text) || lines != 1 || len(m.behind) != 2 || len(m.out.queue) != 0 {
		t.Errorf("used %d, %d lines; behind %v, queue %v", used, lines, m.behind, m.out.queue)
	}
}

// TestKeysConfirm: with a key, the collector first names the other lines that it takes back
// after a failure, and then confirms the failed line. What the worker has then is its own.
func TestKeysConfirm(t *testing.T) {
	b := openNew(t, Settings{Retry: time.Minute})
	w := b.raw(protocol.Hello{Group: "g", From: "start", Key: "source", Credit: 20, Batch: 10})
	b.putMany(0, 20)
	var given []protocol.Frame
	for had := 0; had < 20; {
		f := w.hear(protocol.KindLines)
		had += bytes.Count(f.Text, []byte{'\n'})
		given = append(given, f)
	}
	first := given[0]
	w.say(protocol.Frame{Kind: protocol.KindNack, N: first.N, From: 3, To: 4, Reason: "no"})
	taken := make(map[uint64]int)
	for {
		f := w.hear(protocol.KindLost)
		if f.N == first.N && f.From == 3 && f.To == 4 {
			break
		}
		taken[f.N] += f.To - f.From
	}
	if taken[first.N] != bytes.Count(first.Text, []byte{'\n'})-4 {
		t.Errorf("of the delivery itself %d lines were taken before the answer was confirmed", taken[first.N])
	}
	for _, f := range given[1:] {
		if taken[f.N] != bytes.Count(f.Text, []byte{'\n'}) {
			t.Errorf("of delivery %d, %d lines were taken before the answer was confirmed", f.N, taken[f.N])
		}
	}
}
