package collector

import (
	"cmp"

	"fanin/internal/config"
)

// ownDescriptors are those that must be left: for the log, its rotation and its state, for
// compression and the readers of archives, for the control socket.
const ownDescriptors = 48

// The limits where the configuration sets none.
const (
	defaultMaxConns  = 10_000
	defaultHTTPConns = 1200
	defaultWatchers  = 1000
	defaultWorkers   = 1000
	defaultGroups    = 64
)

// connLimits is how many there may be of each kind of connection, and of watchers.
type connLimits struct {
	inputs                  map[input]int
	http, watchers, workers int
}

// divideDescriptors shares what the process may have open, so that no kind of connection
// can take what the log needs, or what another kind has. A connection over TCP is one
// descriptor, and a few may be there beyond max_conns. One over HTTP is one, and a watcher
// needs one more for the log's file. A worker is one; its group's files count as our own.
func (c *server) divideDescriptors(of *settings, limit int) connLimits {
	own, x := of.ownDescriptors(), of.shares(limit)
	wanted := own + sum(x.all)
	scarce := divide(limit-own, x.all)
	most := connLimits{make(map[input]int), x.http.most, x.watchers.most, x.workers.most}
	taken := 0
	for t, x := range x.inputs {
		most.inputs[t] = x.most
		taken += x.most
	}
	if scarce {
		c.log.Warn("file descriptors are scarce: fewer connections are accepted than the configuration allows",
			"nofile", limit, "wanted", wanted,
			"tcp_conns", taken, "http_conns", most.http, "watchers", most.watchers, "workers", most.workers,
			"remedy", "raise the limit (LimitNOFILE= of the service, ulimit -n), or lower max_conns, max_watchers "+
				"and max_workers")
	}
	return most
}

// shares are what each kind of connection wants.
type shares struct {
	inputs                  map[input]*share
	http, watchers, workers *share
	all                     []*share
}

// shares are those of the configuration, before they are divided.
func (s *settings) shares(limit int) *shares {
	c := &s.Collector
	x := &shares{inputs: make(map[input]*share), http: &share{}, watchers: &share{},
		workers: &share{most: defaultWorkers}} // work queues need none
	add := func(configured *int, value int, beyond func(int) int) *share {
		n := cmp.Or(config.OrZero(configured), value)
		if n < 0 {
			n = limit // no bound of its own
		}
		y := &share{most: n, beyond: beyond}
		x.all = append(x.all, y)
		return y
	}
	for _, t := range c.Inputs {
		if n := t.table.needs().conns; n != nil {
			x.inputs[t.table] = add(n.configured, n.usual, n.beyond)
		}
	}
	none := func(int) int { return 0 }
	if h := c.HTTP; h != nil {
		x.http = add(h.MaxConns, defaultHTTPConns, none)
		x.watchers = add(h.MaxWatchers, defaultWatchers, none)
	} else {
		x.watchers = add(nil, defaultWatchers, none) // over the control socket
	}
	if w := c.Work; w != nil {
		x.workers = add(w.MaxWorkers, defaultWorkers, none)
	}
	return x
}

// ownDescriptors is what is not to be divided. A group reads the log in two places at most,
// and has a file of dead letters.
func (s *settings) ownDescriptors() int {
	c := &s.Collector
	own := ownDescriptors + len(c.Inputs)
	if w := c.Work; w != nil || c.Inputs.handOut() {
		own += 1 + 3*cmp.Or(config.OrZero(cmp.Or(w, &workTable{}).MaxGroups), defaultGroups)
	}
	return own
}

// share is how many connections of a kind there may be, and how many there may be beyond
// that for a while.
type share struct {
	most   int
	beyond func(most int) int
}

// leastConns is what every kind gets, unless it wants fewer.
const leastConns = 8

func (x *share) descriptors(most int) int { return most + x.beyond(most) }

// within reduces the connections until they take no more than n descriptors.
func (x *share) within(n int) {
	if x.descriptors(x.most) > n {
		x.most = max(n-x.beyond(n), 1) // beyond grows with its argument
	}
}

// divide leaves each what it wants. When there is not enough for all, each gets the least
// and its proportion of the rest.
func divide(limit int, all []*share) (scarce bool) {
	if sum(all) <= limit {
		return false
	}
	rest, wish := limit, 0
	least := make([]int, len(all))
	for i, x := range all {
		least[i] = x.descriptors(min(leastConns, x.most))
		rest -= least[i]
		wish += x.descriptors(x.most) - least[i]
	}
	for i, x := range all {
		more := int64(x.descriptors(x.most) - least[i])
		x.within(least[i] + int(int64(max(rest, 0))*more/int64(max(wish, 1))))
	}
	return true
}

func sum(all []*share) (n int) {
	for _, x := range all {
		n += x.descriptors(x.most)
	}
	return n
}
