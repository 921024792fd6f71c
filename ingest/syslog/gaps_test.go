package syslog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/ingest"
)

// numbers sees numbers, one each millisecond, and returns what is missing when all has settled,
// and how often the sender began anew.
func numbers(c *count, all ...uint32) (missing, restarts int) {
	now := readAt
	for _, n := range all {
		if now = now.Add(time.Millisecond); c.see(n, now) {
			restarts++
		}
	}
	return c.take(now.Add(2 * settled)), restarts
}

// upTo are the numbers from one to another.
func upTo(from, to uint32) (all []uint32) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

// interleaved are the numbers of two senders that take turns.
func interleaved(a, b []uint32, turn int) (all []uint32) {
	for len(a) > 0 && len(b) > 0 {
		n := min(turn, len(a), len(b))
		all = append(append(all, a[:n]...), b[:n]...)
		a, b = a[n:], b[n:]
	}
	return all
}

func TestCount(t *testing.T) {
	swapped := upTo(1, 300)
	for i := 20; i+40 < len(swapped); i += 60 {
		swapped[i], swapped[i+40] = swapped[i+40], swapped[i]
	}
	for name, x := range map[string]struct {
		numbers           []uint32
		missing, restarts int
		mixed             bool
	}{
		"none missing":                   {upTo(5, 500), 0, 0, false},
		"one missing":                    {append(upTo(1, 5), upTo(7, 9)...), 1, 0, false},
		"the last one of a gap":          {[]uint32{1, 9}, 7, 0, false},
		"three gaps":                     {slices.Concat(upTo(1, 5), upTo(7, 9), upTo(20, 300), upTo(400, 500)), 1 + 10 + 99, 0, false},
		"an outage":                      {append(upTo(1, 5), upTo(50_001, 50_010)...), 49_995, 0, false},
		"late by 40":                     {swapped, 0, 0, false},
		"each tenth came twice":          {slices.Concat(upTo(1, 10), upTo(10, 20), upTo(20, 30), upTo(30, 40)), 0, 0, false},
		"started again":                  {append(upTo(1000, 1100), upTo(1, 50)...), 0, 1, false},
		"started again at once":          {append(upTo(1, 20), upTo(1, 50)...), 0, 1, false},
		"started again, and a gap":       {slices.Concat(upTo(1000, 1100), upTo(1, 50), upTo(53, 55)), 2, 1, false},
		"a gap, and started again":       {slices.Concat(upTo(1000, 1100), upTo(1104, 1110), upTo(1, 50)), 3, 1, false},
		"started again with a high one":  {append(upTo(10, 20), upTo(3_000_000_000, 3_000_000_010)...), 0, 1, false},
		"the wrap of sequenceId":         {append(upTo(wraps-5, wraps), upTo(1, 10)...), 0, 0, false},
		"the wrap of 32 bits":            {[]uint32{1<<32 - 2, 1<<32 - 1, 0, 1, 2}, 0, 0, false},
		"one strange number":             {slices.Concat(upTo(1, 5), []uint32{70_000}, upTo(6, 50)), 0, 0, false},
		"two senders by turns":           {interleaved(upTo(100, 200), upTo(5000, 5100), 1), 0, 0, true},
		"two senders by turns of two":    {interleaved(upTo(100, 200), upTo(50_000, 50_100), 2), 0, 0, true},
		"two senders, the second first":  {interleaved(upTo(5000, 5100), upTo(100, 200), 1), 0, 0, true},
		"two senders with close numbers": {interleaved(upTo(100, 200), upTo(110, 210), 1), 0, 0, true},
		"two senders with equal numbers": {interleaved(upTo(100, 200), upTo(100, 200), 1), 0, 0, true},
	} {
		c := newCount(x.numbers[0])
		missing, restarts := numbers(&c, x.numbers[1:]...)
		if missing != x.missing || restarts != x.restarts || c.mixed != x.mixed {
			t.Errorf("%s: %d missing, %d restarts, mixed %v; want %d, %d, %v", name, missing, restarts, c.mixed, x.missing, x.restarts, x.mixed)
		}
	}
}

// TestCountWaits: a gap is believed when it is some time old, and what came late is not of it.
func TestCountWaits(t *testing.T) {
	c := newCount(1)
	c.see(2, readAt)
	c.see(6, readAt)
	if n := c.take(readAt.Add(settled / 2)); n != 0 {
		t.Errorf("%d are missing at once", n)
	}
	c.see(4, readAt.Add(settled/2))
	if n := c.take(readAt.Add(settled)); n != 2 {
		t.Errorf("%d are missing; want 2", n)
	}
	if n := c.take(readAt.Add(2 * settled)); n != 0 {
		t.Errorf("%d are missing again", n)
	}
}

// FuzzCount: of messages that come a little late, twice, or not at all, those that did not come
// are counted, each once.
func FuzzCount(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 3, 0, 0}, uint32(7))
	f.Add([]byte{1, 1, 1, 1, 0}, uint32(1<<32-3))
	f.Fuzz(func(t *testing.T, fates []byte, first uint32) {
		c, now, missing, held := newCount(first), readAt, 0, []uint32{}
		see := func(n uint32) {
			now = now.Add(time.Millisecond)
			c.see(n, now)
		}
		n := first
		for i, fate := range fates[:min(len(fates), maxGap-1)] { // a larger gap needs several numbers behind it
			n++
			switch odd := i%8 == 7; { // some of the network's disorder is enough
			case fate%4 == 1:
				missing++
			case odd && fate%4 == 2:
				see(n)
				see(n)
			case odd && fate%4 == 3:
				held = append(held, n)
			default:
				see(n)
			}
			if i%8 == 4 {
				for _, late := range held {
					see(late)
				}
				held = held[:0]
			}
		}
		missing += len(held)
		see(n + 1)
		if c.mixed || first < wraps && n >= wraps {
			return // it says nothing
		}
		if got := c.take(now.Add(2 * settled)); got != missing {
			t.Fatalf("%d are missing, and %d are counted", missing, got)
		}
	})
}

// seen makes a message with a number.
func seen(g *Gaps, peer string, format string, args ...any) {
	s := Settings{Gaps: g}
	s.New().Scan(nil, fmt.Appendf(nil, format, args...), &Origin{Host: peer, Now: time.Now()})
}

// TestGaps: what is missing is counted for each sender, also across its connections, and reported
// once it has settled.
func TestGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reported := make(chan string, 100)
		g := &Gaps{Metrics: new(ingest.Metrics), Notice: func(format string, args ...any) { reported <- fmt.Sprintf(format, args...) }}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // ends by stop
			g.Watch(ctx)
			close(done)
		}()
		for _, n := range []int{1, 2, 5} {
			seen(g, "192.0.2.1", "<189>%d: *Nov 26 12:00:01.123: %%SYS-5-CONFIG_I: text", n)
			seen(g, "192.0.2.2", "<189>%d: router2: Nov 26 12:00:01.123: %%SYS-5-CONFIG_I: text", 100-n)
			seen(g, "192.0.2.3", `<13>1 - web1 app 4 - [meta sequenceId="%d"] text`, n)
			seen(g, "192.0.2.3", `<13>1 - web2 app 4 - [meta sequenceId="%d"] text`, 10*n)
		}
		synctest.Wait()
		if len(reported) > 0 {
			t.Errorf("reported before it settled: %q", <-reported)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		var notices []string
		for len(reported) > 0 {
			notices = append(notices, <-reported)
		}
		slices.Sort(notices)
		want := []string{"LOST n=2 unit=messages reason=syslog-gap peer=192.0.2.1 host=-", "LOST n=2 unit=messages reason=syslog-gap peer=192.0.2.3 host=web1",
			"LOST n=38 unit=messages reason=syslog-gap peer=192.0.2.3 host=web2"}
		for i, n := range notices {
			if i >= len(want) || !strings.HasPrefix(n, want[i]) {
				t.Errorf("reported %q", n)
			}
		}
		if len(notices) != len(want) {
			t.Errorf("%d notices", len(notices))
		}
		seen(g, "192.0.2.1", "<189>9: *Nov 26 12:00:01.123: %%SYS-5-CONFIG_I: text")
		stop()
		<-done
		if n := len(reported); n != 1 || !strings.HasPrefix(<-reported, "LOST n=3 ") {
			t.Errorf("%d notices at the end", n)
		}
		for label, want := range map[string]int{ciscoCounter: 5, sequenceID: 40} {
			if n := int(testutil.ToFloat64(g.missing[label])); n != want {
				t.Errorf("%s: %d missing; want %d", label, n, want)
			}
		}
	})
}

// TestGapsOfPrograms: where the numbers of a host's messages are those of its programs, each
// program has a count of its own.
func TestGapsOfPrograms(t *testing.T) {
	g := &Gaps{Metrics: new(ingest.Metrics)}
	for n := range 50 {
		seen(g, "192.0.2.3", `<13>1 - web1 shop 4 - [meta sequenceId="%d"] text`, 100+n)
		seen(g, "192.0.2.3", `<13>1 - web1 cart 5 - [meta sequenceId="%d"] text`, 9000+n)
	}
	seen(g, "192.0.2.3", `<13>1 - web1 cart 5 - [meta sequenceId="%d"] text`, 9060)
	g.flush(time.Now().Add(2*settled), true)
	if n := int(testutil.ToFloat64(g.missing[sequenceID])); n != 10 {
		t.Errorf("%d missing; want 10", n)
	}
	if n := testutil.ToFloat64(g.uncountable); n != 1 {
		t.Errorf("%v senders with several counters; want 1", n)
	}
}

// TestGapsBounded: however many senders there are, few are remembered, those that were heard of
// last; and few notices are written at a time.
func TestGapsBounded(t *testing.T) {
	notices, total := 0, 0
	g := &Gaps{Metrics: new(ingest.Metrics), Notice: func(_ string, args ...any) {
		notices++
		total += args[0].(int)
	}}
	for i := range 3 * mostSenders {
		g.see(&message{form: cisco, number: 1}, &Origin{Host: fmt.Sprint("h", i)})
		g.see(&message{form: cisco, number: uint32(i)}, &Origin{Host: "busy"})
	}
	if n := len(g.fresh) + len(g.old); n > mostSenders {
		t.Errorf("%d senders are remembered", n)
	}
	for i := range 100 {
		seen(g, fmt.Sprint("h", 3*mostSenders-1-i), "<189>4: %%SYS-5-CONFIG_I: text")
	}
	seen(g, "busy", "<189>%d: %%SYS-5-CONFIG_I: text", 3*mostSenders+1)
	g.flush(time.Now().Add(2*settled), true)
	if notices > 2*(mostNotices+1) || total != 100*2+1 {
		t.Errorf("%d notices of %d missing", notices, total)
	}
	if n := testutil.ToFloat64(g.forgotten); n < mostSenders {
		t.Errorf("%v senders forgotten", n)
	}
}
