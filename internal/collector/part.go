package collector

import (
	"context"
	"reflect"
	"slices"
	"strings"
)

// part is a table of the configuration that is opened as one.
type part struct {
	at    string // as in "collector.tcp[0]"
	table opener
	conns int // how many connections it may accept
}

// opener is a table that is opened: an input, [collector.http] or [collector.work].
type opener interface {
	// needs is what it needs from the machine.
	needs() needs
	// open binds or connects. Nothing is accepted before listener.serve is called, and nothing
	// goes out before listener.begin.
	open(ctx context.Context, s *server, conns int) (*listener, error)
}

// parts are all that the configuration has, in the order in which they open: those that take any
// free port come last, so that none takes a port that another names.
func (s *settings) parts(most connLimits) (all []part) {
	c := &s.Collector
	if c.HTTP != nil {
		all = append(all, part{"collector.http", c.HTTP, most.http})
	}
	for _, x := range c.Inputs.byKind() {
		all = append(all, part{x.at, x.table, most.inputs[x.table]})
	}
	if c.Work != nil && s.partition == "" { // the member has the listener of all partitions
		all = append(all, part{"collector.work", c.Work, most.workers})
	}
	slices.SortStableFunc(all, func(a, b part) int { return btoi(a.anyPort()) - btoi(b.anyPort()) })
	return all
}

// anyPort reports whether a part takes a free port.
func (p *part) anyPort() bool {
	return slices.ContainsFunc(p.table.needs().ports, port.isAny)
}

// same reports whether two parts would be the same listener.
func (p *part) same(q *part) bool { return reflect.DeepEqual(p.table, q.table) }

// kind is the table's name, as in "tcp".
func (p *part) tableKind() string {
	name, _, _ := strings.Cut(strings.TrimPrefix(p.at, "collector."), "[")
	return name
}

// claims are what only one listener can have at a time: addresses; and the kind of tables of
// which one may read again what another one has read.
func (p *part) claims() (all []string) {
	n := p.table.needs()
	for _, x := range n.ports {
		if !x.isAny() {
			all = append(all, x.network+" "+x.listen)
		}
	}
	if n.path != "" {
		all = append(all, "path "+n.path)
	}
	if n.alone {
		all = append(all, p.tableKind())
	}
	return all
}

// open opens a part.
func (c *server) open(ctx context.Context, p part) (*listener, error) {
	x, err := p.table.open(ctx, c, p.conns)
	if err != nil {
		return nil, err
	}
	x.part, x.ended = p, make(chan struct{})
	x.free, x.gone = make(chan struct{}), make(chan struct{})
	x.staying, x.end = context.WithCancel(c.reloads.ctx)
	return x, nil
}
