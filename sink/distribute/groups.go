package distribute

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"fanin/internal/origin"
	"fanin/sink"
)

// groups are all groups by name.
type groups struct {
	mu     sync.Mutex
	byName map[string]*group
}

func newGroups() groups { return groups{byName: make(map[string]*group)} }

// get returns a group, or nil.
func (x *groups) get(name string) *group {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byName[name]
}

// all returns the groups in the order of their names.
func (x *groups) all() []*group {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.SortedFunc(maps.Values(x.byName), func(a, b *group) int { return cmp.Compare(a.name, b.name) })
}

func (x *groups) remove(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byName, name)
}

func (d *Distributor) existing(name string) (*group, error) {
	if g := d.groups.get(name); g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoGroup, name)
}

// mayCreateLocked returns why a worker of an address may not create a group.
func (d *Distributor) mayCreateLocked(name string, ip netip.Addr) error {
	const remedy = "remove one with `fanin-collector forget --group NAME`"
	all := d.groups.byName
	if len(all) >= d.now().MaxGroups {
		return &refusal{"max_groups",
			fmt.Errorf("group %s is new, and there are %d already, the bound max_groups; %s",
				name, d.now().MaxGroups, remedy)}
	}
	created := 0
	for _, g := range all {
		if g.creator == origin.Network(ip) {
			created++
		}
	}
	if d.now().MaxGroupsPerIP > 0 && bounded(ip) && created >= d.now().MaxGroupsPerIP {
		return &refusal{"max_groups_per_ip", fmt.Errorf("group %s is new, and %s created %d already, "+
			"the bound max_groups_per_ip; %s", name, origin.Name(ip), created, remedy)}
	}
	return nil
}

// Create makes a group that begins at from, as in protocol.Hello, before it has a worker. A
// group that exists is left as it is.
func (d *Distributor) Create(name, from string) error {
	err := CheckGroup(name)
	if err == nil {
		_, err = d.findOrCreate(name, from, netip.Addr{})
	}
	return err
}

// findOrCreate finds a group, or creates it for a worker of an address.
func (d *Distributor) findOrCreate(name, from string, ip netip.Addr) (*group, error) {
	x := &d.groups
	x.mu.Lock()
	g, err := x.byName[name], d.mayCreateLocked(name, ip)
	x.mu.Unlock()
	if g != nil {
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	if d.cursors.lost {
		from = "start" // the group may have existed
	}
	at, err := d.sink.Resolve(d.ctx, from)
	if err != nil {
		return nil, fmt.Errorf("group %s is new, and cannot begin at %q: %w", name, from, err)
	}
	return d.makeAt(name, at, ip)
}

// makeAt finds a group, or makes it at a position.
func (d *Distributor) makeAt(name string, at sink.Position, ip netip.Addr) (*group, error) {
	x := &d.groups
	x.mu.Lock()
	defer x.mu.Unlock()
	if g := x.byName[name]; g != nil {
		return g, nil
	}
	if err := d.mayCreateLocked(name, ip); err != nil { // others created some in the meantime
		return nil, err
	}
	g := newGroup(d, name, at)
	g.creator = origin.Network(ip)
	x.byName[name] = g
	d.start(g)
	d.saveSoon()
	d.log.Info("a new group", "group", name, "from", at.String())
	return g, nil
}
