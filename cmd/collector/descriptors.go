package main

import "cmp"

// The descriptors that connections must leave: for the log, its rotation and its
// state, for compression and the readers of archives, for the control socket.
const ownDescriptors = 48

// share is how many descriptors a kind of connection wants, and gets if there
// are not enough.
type share struct{ want, got int }

// divideDescriptors shares what the process may have open among the listeners,
// so that no kind of connection can take what the log needs, and returns how many
// connections each of [[collector.tcp]] may have; 0: the default.
func (c *server) divideDescriptors(limit int) map[*tcpTable]int {
	s := &c.settings.Collector
	var shares []*share
	want := func(n int) *share {
		x := &share{want: n}
		shares = append(shares, x)
		return x
	}
	var lines []*share
	for i := range s.TCP {
		n := cmp.Or(orZero(s.TCP[i].MaxConns), defaultMaxConns)
		if n < 0 {
			n = unboundedConns
		}
		lines = append(lines, want(n))
	}
	if h := s.HTTP; h != nil {
		want(cmp.Or(orZero(h.MaxWatchers), defaultWatchers))
	}
	if w := s.Work; w != nil {
		want(cmp.Or(orZero(w.MaxWorkers), defaultWorkers))
	}
	own := ownDescriptors + len(s.TCP) + len(s.UDP) + len(s.NATS)
	scarce := limit > 0 && divide(limit-own, shares)
	got, conns := 0, make(map[*tcpTable]int)
	for i, x := range lines {
		t := &s.TCP[i]
		if conns[t] = orZero(t.MaxConns); scarce {
			conns[t] = x.got
		}
		got += x.got
	}
	if scarce {
		c.log.Warn("descriptors are scarce: fewer connections are taken than the configuration allows", "nofile", limit, "wanted", own+sum(shares),
			"tcp_conns", got, "remedy", "raise the limit (LimitNOFILE= of the service, ulimit -n), or lower max_conns")
	}
	return conns
}

// The limits of listeners that the configuration says nothing of.
const (
	defaultMaxConns = 10_000
	defaultWatchers = 1000
	defaultWorkers  = 1000
	unboundedConns  = 1 << 20 // what max_conns = -1 would like to have
	leastConns      = 8       // that every listener gets
)

// divide gives each its wish, or a part of it in proportion when there is less.
func divide(limit int, shares []*share) (scarce bool) {
	all := sum(shares)
	if all <= limit {
		return false
	}
	for _, x := range shares {
		x.got = max(int(int64(max(limit, 0))*int64(x.want)/int64(all)), min(leastConns, x.want))
	}
	return true
}

func sum(shares []*share) (n int) {
	for _, x := range shares {
		n += x.want
	}
	return n
}
