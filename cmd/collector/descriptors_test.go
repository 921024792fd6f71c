package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// Connections never get the descriptors that the log needs, each listener gets
// some, and scarcity is said once.
func TestDivideDescriptors(t *testing.T) {
	for _, x := range []struct {
		limit  int
		conns  []int // of each listener, as configured; 0: not
		want   []int
		scarce bool
	}{
		{524_288, []int{0, 500}, []int{0, 500}, false},
		{0, []int{0}, []int{0}, false}, // not known
		{1024, []int{0}, []int{812}, true},
		{1024, []int{200, 100}, []int{200, 100}, false},
		{1024, []int{3000, 1000}, []int{730, 243}, true},
		{1024, []int{-1}, []int{973}, true},
		{64, []int{0, 4}, []int{13, 4}, true},
		{20, []int{0}, []int{leastConns}, true},
	} {
		var said bytes.Buffer
		s := defaults()
		for _, n := range x.conns {
			tcp := tcpTable{}
			if n != 0 {
				tcp.MaxConns = &n
			}
			s.Collector.TCP = append(s.Collector.TCP, tcp)
		}
		if len(x.conns) == 1 {
			s.Collector.HTTP, s.Collector.Work = &httpTable{}, &workTable{}
		}
		c := &server{settings: s, log: slog.New(slog.NewTextHandler(&said, nil))}
		got := c.divideDescriptors(x.limit)
		for i := range x.want {
			if n := got[&s.Collector.TCP[i]]; n != x.want[i] {
				t.Errorf("%d descriptors, max_conns %v: listener %d got %d, want %v", x.limit, x.conns, i, n, x.want)
			}
		}
		if n := strings.Count(said.String(), "scarce"); (n == 1) != x.scarce {
			t.Errorf("%d descriptors, max_conns %v: said %d times:\n%s", x.limit, x.conns, n, said.String())
		}
	}
}

// Every way in takes a descriptor of its own before connections get any.
func TestDescriptorsOfListeners(t *testing.T) {
	const limit = 1024
	conns := func(add func(c *collector)) int {
		s := defaults()
		s.Collector.TCP = append(s.Collector.TCP, tcpTable{})
		if add != nil {
			add(&s.Collector)
		}
		c := &server{settings: s, log: slog.New(slog.DiscardHandler)}
		return c.divideDescriptors(limit)[&s.Collector.TCP[0]]
	}
	none := conns(nil)
	if none != limit-ownDescriptors-1 {
		t.Errorf("one listener gets %d of %d", none, limit)
	}
	for name, add := range map[string]func(c *collector){
		"udp":  func(c *collector) { c.UDP = make([]udpTable, 20) },
		"nats": func(c *collector) { c.NATS = make([]natsTable, 20) },
	} {
		if got := conns(add); got != none-20 {
			t.Errorf("with 20 of %s, connections get %d descriptors, want %d", name, got, none-20)
		}
	}
}
