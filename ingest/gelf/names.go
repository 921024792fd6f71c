package gelf

import (
	"fanin/internal/wire"
)

// names keeps strings that come again with each message, so that none is made for each.
type names struct {
	hosts, sources map[string]string // clean, by the name as it came
	last           wire.Attributes
}

// maxNames bounds each map.
const maxNames = 256

// host is a name as a host in the log.
func (n *names) host(name []byte) string { return known(&n.hosts, name, wire.CleanHost) }

// source is a name as a source in the log.
func (n *names) source(name []byte) string { return known(&n.sources, name, wire.CleanSource) }

func known(all *map[string]string, name []byte, clean func(string) string) string {
	if s, ok := (*all)[string(name)]; ok {
		return s
	}
	if *all == nil || len(*all) >= maxNames {
		*all = make(map[string]string)
	}
	s := clean(string(name[:min(len(name), wire.MaxName+1)]))
	if len(name) <= wire.MaxName {
		(*all)[string(name)] = s
	}
	return s
}

// attributes are those of a line. Neighbouring lines often have the same.
func (n *names) attributes(b []byte) wire.Attributes {
	if string(b) != string(n.last) {
		n.last = wire.Attributes(b)
	}
	return n.last
}
