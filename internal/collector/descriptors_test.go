package collector

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"fanin/ingest/stream"
	"fanin/internal/config"
)

// TestDivideDescriptors: whatever the configuration allows, all connections together leave
// the log its descriptors, each kind gets some, none gets more than it wants, and scarcity
// is said once.
func TestDivideDescriptors(t *testing.T) {
	n := func(n int) *int { return &n }
	for name, x := range map[string]struct {
		tcp  []tcpTable
		nats []natsTable
		http *httpTable
		work *workTable
		want int // descriptors
	}{
		"defaults":  {tcp: []tcpTable{{}}, http: &httpTable{}, work: &workTable{}, want: 48 + 1 + 193 + 10_128 + 1200 + 1000 + 1000},
		"tcp alone": {tcp: []tcpTable{{}}, want: 48 + 1 + 10_128 + 1000},
		"small":     {tcp: []tcpTable{{streamTable: streamTable{MaxConns: n(200)}}, {streamTable: streamTable{MaxConns: n(10)}}}, http: &httpTable{MaxConns: n(20), MaxWatchers: n(5)}, work: &workTable{MaxWorkers: n(30), MaxGroups: n(4)}, want: 48 + 2 + 13 + 224 + 15 + 20 + 5 + 30},
		"no bounds": {tcp: []tcpTable{{streamTable: streamTable{MaxConns: n(-1)}}, {}}, http: &httpTable{MaxConns: n(-1)}, want: 1 << 30},
		"greedy":    {tcp: []tcpTable{{streamTable: streamTable{MaxConns: n(100_000)}}, {streamTable: streamTable{MaxConns: n(20)}}, {streamTable: streamTable{MaxConns: n(1)}}}, http: &httpTable{MaxConns: n(7)}, work: &workTable{MaxWorkers: n(9)}, want: 1 << 30},
		"carried":   {tcp: []tcpTable{{}}, nats: []natsTable{{Work: &natsWorkTable{}}}, want: 48 + 2 + 193 + 10_128 + 1000},
	} {
		for _, limit := range []int{384, 1024, 4096, x.want - 1, x.want, 65_536} {
			if limit > 1<<20 {
				continue
			}
			var said bytes.Buffer
			s := defaults()
			var tcp []*tcpTable
			for _, t := range x.tcp {
				tcp = append(tcp, &t)
				s.Collector.Inputs.put("tcp", &t)
			}
			for _, t := range x.nats {
				s.Collector.Inputs.put("nats", &t)
			}
			s.Collector.HTTP, s.Collector.Work = x.http, x.work
			c := &server{settings: s, log: slog.New(slog.NewTextHandler(&said, nil))}
			got := c.divideDescriptors(s, limit)
			scarce := limit < x.want
			in := got.watchers + got.http + s.ownDescriptors()
			within := func(kind string, got int, configured *int, value int) {
				t.Helper()
				want := config.Or(configured, value)
				if want < 0 {
					want = limit
				}
				if got > want || got < min(leastConns, want) || !scarce && got != want {
					t.Errorf("%s, %d descriptors: %s got %d, want %d", name, limit, kind, got, want)
				}
			}
			for _, t := range tcp {
				conns := got.inputs[t]
				in += conns + stream.Beyond(conns)
				within("tcp", conns, t.MaxConns, defaultMaxConns)
			}
			if x.http != nil {
				within("http", got.http, x.http.MaxConns, defaultHTTPConns)
				within("watchers", got.watchers, x.http.MaxWatchers, defaultWatchers)
			}
			if x.work != nil {
				in += got.workers
				within("workers", got.workers, x.work.MaxWorkers, defaultWorkers)
			}
			if in > limit || in < limit*9/10 && scarce {
				t.Errorf("%s: %d descriptors of %d: %+v", name, in, limit, got)
			}
			if n := strings.Count(said.String(), "scarce"); (n == 1) != scarce {
				t.Errorf("%s, %d descriptors: said %d times:\n%s", name, limit, n, said.String())
			}
		}
	}
}

// Every way in takes descriptors of its own before connections get any, and so does every
// group.
func TestDescriptorsOfListeners(t *testing.T) {
	const limit = 1024
	divided := func(add func(c *collectorTable)) (own, conns int) {
		s := defaults()
		tcp := new(tcpTable)
		s.Collector.Inputs.put("tcp", tcp)
		if add != nil {
			add(&s.Collector)
		}
		c := &server{settings: s, log: slog.New(slog.DiscardHandler)}
		return s.ownDescriptors(), c.divideDescriptors(s, limit).inputs[tcp]
	}
	own, none := divided(nil)
	if own != ownDescriptors+1 {
		t.Errorf("one listener needs %d, want %d", own, ownDescriptors+1)
	}
	twenty := 20
	for name, x := range map[string]struct {
		add  func(c *collectorTable)
		want int
	}{
		"udp": {func(c *collectorTable) {
			for range 20 {
				c.Inputs.put("udp", new(udpTable))
			}
		}, 20},
		"nats": {func(c *collectorTable) {
			for range 20 {
				c.Inputs.put("nats", new(natsTable))
			}
		}, 20},
		"groups": {func(c *collectorTable) { c.Inputs.put("nats", &natsTable{Work: &natsWorkTable{}}) }, 2 + 3*defaultGroups},
		"work":   {func(c *collectorTable) { c.Work = &workTable{MaxGroups: &twenty} }, 1 + 3*20},
	} {
		if more, conns := divided(x.add); more != own+x.want || conns > none-x.want/2 {
			t.Errorf("with %s, %d descriptors are set aside, want %d, and connections get %d, and %d without", name, more, own+x.want, conns, none)
		}
	}
}
