package collector

import (
	"fanin/internal/config"
	"fanin/internal/zmtp"
	"fanin/sink/distribute"
)

// zmqOutput is [collector.zmq.output]: where lines go, each to one peer or to all.
type zmqOutput struct {
	Push     *zmqEndpoints `toml:"push"`
	Group    string        `toml:"group"`
	From     string        `toml:"from"`
	Pub      *zmqEndpoints `toml:"pub"`
	Sequence bool          `toml:"sequence"`
	HWM      *int          `toml:"hwm"`
	zmqAccess
}

// zmqStatus is [collector.zmq.status]: where requests are answered.
type zmqStatus struct {
	Rep     *zmqEndpoints `toml:"rep"`
	Control bool          `toml:"control"`
	zmqAccess
}

// zmqOut is a socket of one of these tables.
type zmqOut struct {
	table, key string // "output", "push"
	endpoints  *zmqEndpoints
	access     *zmqAccess
}

// outs are the sockets of the tables below this one, the output first.
func (t *zmqTable) outs() (all []zmqOut) {
	if o := t.Output; o != nil {
		if o.Push != nil {
			all = append(all, zmqOut{"output", "push", o.Push, o.or(&t.zmqAccess)})
		}
		if o.Pub != nil {
			all = append(all, zmqOut{"output", "pub", o.Pub, o.or(&t.zmqAccess)})
		}
	}
	if s := t.Status; s != nil && s.Rep != nil {
		all = append(all, zmqOut{"status", "rep", s.Rep, s.or(&t.zmqAccess)})
	}
	return all
}

// or is the access that a table below another one sets, or has from that one.
func (a *zmqAccess) or(above *zmqAccess) *zmqAccess {
	x := *a
	if x.MaxConns == nil {
		x.MaxConns = above.MaxConns
	}
	if x.Plain == nil && x.Curve == nil {
		x.Plain, x.Curve = above.Plain, above.Curve
	}
	x.Insecure = x.Insecure || above.Insecure
	return &x
}

// need adds what the socket needs to what its table does.
func (x *zmqOut) need(n *needs) {
	n.ports = append(n.ports, x.endpoints.ports(x.table+"."+x.key)...)
	n.handsOut = n.handsOut || x.key == "push"
	own, most := len(x.endpoints.Connect), config.Or(x.access.MaxConns, zmtp.DefaultMaxConns)
	if len(x.endpoints.Bind) > 0 {
		own += most
	}
	if n.conns == nil {
		n.conns = &connNeed{nil, own, func(int) int { return 0 }}
		return
	}
	before := n.conns.beyond
	n.conns.beyond = func(m int) int { return before(m) + own }
}

// readKeys reads the keys and secrets of the socket.
func (x *zmqOut) readKeys() error {
	_, err := x.access.security(len(x.endpoints.Bind) > 0)
	return err
}

// checkOuts reports the mistakes in the tables below this one.
func (t *zmqTable) checkOuts(c *checks) {
	for _, x := range t.outs() {
		at := &checks{Table: c.Sub(x.table), insecure: c.insecure}
		x.endpoints.check(at, x.key, x.access)
		if x.access.Curve != t.Curve {
			x.access.checkEffect(at, []*zmqEndpoints{x.endpoints})
		}
	}
	t.checkLoops(c)
	if t.Output != nil {
		t.Output.check(&checks{Table: c.Sub("output"), insecure: c.insecure})
	}
	if s := t.Status; s != nil {
		at := &checks{Table: c.Sub("status"), insecure: c.insecure}
		s.zmqAccess.check(at)
		if s.Rep == nil {
			at.Problem("rep", "rep is missing: where requests are answered, as in rep = \"tcp://127.0.0.1:5560\"")
		}
	}
}

func (o *zmqOutput) check(c *checks) {
	o.zmqAccess.check(c)
	switch {
	case (o.Push == nil) == (o.Pub == nil):
		c.Problem("", "the output needs one of push and pub, as in push = \"tcp://127.0.0.1:5558\"")
	case o.Pub != nil:
		for key, set := range map[string]bool{"group": o.Group != "", "from": o.From != ""} {
			if set {
				c.Problem(key, "%s has no effect with pub: each subscriber gets the lines that come after it", key)
			}
		}
		c.Between("hwm", o.HWM, 1, 1<<24)
	default:
		if o.Sequence {
			c.Problem("sequence", "sequence has no effect with push: each line goes to one peer")
		}
		c.Between("hwm", o.HWM, 1, 1<<16)
	}
	if o.Group != "" {
		if err := distribute.CheckGroup(o.Group); err != nil {
			c.Problem("group", "%v", err)
		}
	}
}
