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
