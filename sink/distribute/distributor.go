// Package distribute hands the lines of a log out to workers: push. Workers join
// groups; every group gets every line, and within a group each line goes to one
// worker, until one has acknowledged it. The file is the queue: a group is a
// position in the log and the little that was handed out and is not done with,
// so a slow worker costs disk, never memory, and never holds up the writer.
package distribute

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/origin"
	"fanin/sink"
	"fanin/sink/distribute/protocol"
)

// Distributor hands out the lines of one log. Set the fields, Open it, Serve
// listeners, Shutdown. Zero fields take the defaults named.
type Distributor struct {
	Sink *sink.Sink   // open; required
	Log  *slog.Logger // nil: discard
	TLS  *tls.Config  // nil: plain TCP

	Allowed func(tls.ConnectionState) error // with TLS: why a worker with this certificate is not let in; nil: all are

	Lease            time.Duration // for an answer, at most; default 1 min
	Attempts         int           // that a line gets; default 8
	Retry            time.Duration // before the second attempt at what a worker could not do, doubled for each further one; default 1 s
	MaxWorkers       int           // connections at a time; default 1,000
	MaxWorkersPerIP  int           // of one address (see package origin), 127.0.0.1 and ::1 excepted; default 256; < 0 no bound
	MaxGroups        int           // default 64
	MaxGroupsPerIP   int           // that workers of one address made since Open and that were not forgotten, loopback excepted; default 16; < 0 no bound
	MaxCredit        int           // lines that a worker may have unanswered; default 65,536
	DeadLetterBytes  int64         // of a group's file of dead letters, before it is moved aside; default 256 MiB
	HandshakeTimeout time.Duration // for TLS and the greeting; default 10 s

	begin  sync.Once
	opened chan struct{} // closed by Open: what the groups need is known

	governor governor
	reading  atomic.Int64 // groups with workers

	seed    maphash.Seed
	cursors *cursors
	counts  counts
	said    sayings
	members atomic.Uint64 // counts them, for their ids

	ctx    context.Context // of all goroutines but the connections'
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	groups    map[string]*group
	conns     map[net.Conn]struct{}
	perIP     map[netip.Prefix]int // connections
	listeners map[net.Listener]struct{}
	serving   sync.WaitGroup
	quit      chan struct{} // closed by Shutdown: hand nothing more out
	bufs      sync.Pool
}

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("distribute: closed")

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Open reads where the groups stand and begins to look after them.
func (d *Distributor) Open(ctx context.Context) error {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	orDefault(&d.Lease, time.Minute)
	orDefault(&d.Attempts, 8)
	orDefault(&d.Retry, time.Second)
	orDefault(&d.MaxWorkers, 1000)
	orDefault(&d.MaxWorkersPerIP, 256)
	orDefault(&d.MaxGroups, 64)
	orDefault(&d.MaxGroupsPerIP, 16)
	orDefault(&d.MaxCredit, 1<<16)
	orDefault(&d.DeadLetterBytes, 256<<20)
	orDefault(&d.HandshakeTimeout, 10*time.Second)
	d.seed = maphash.MakeSeed()
	d.governor.worked, d.governor.idle = d.Sink.Worked, processors
	d.groups, d.conns, d.perIP = make(map[string]*group), make(map[net.Conn]struct{}), make(map[netip.Prefix]int)
	d.listeners, d.quit = make(map[net.Listener]struct{}), make(chan struct{})
	d.ctx, d.cancel = context.WithCancel(context.Background())
	var err error
	if d.cursors, err = openCursors(d); err != nil {
		d.cancel()
		return fmt.Errorf("open the groups' cursors: %w", err)
	}
	for _, g := range d.groups {
		if err := g.resumeLetters(); err != nil {
			d.cancel()
			return fmt.Errorf("open the dead letters of group %s: %w", g.name, err)
		}
		d.start(g)
	}
	d.work.Go(func() { d.cursors.run(d.ctx) }) // ends by Shutdown
	close(d.isOpen())
	d.saveSoon() // dead letters that a crash kept from their file are written now
	return ctx.Err()
}

// isOpen is closed once the distributor is open. The sink may ask before.
func (d *Distributor) isOpen() chan struct{} {
	d.begin.Do(func() { d.opened = make(chan struct{}) })
	return d.opened
}

// start begins a group's dispatcher, which ends by Shutdown.
func (d *Distributor) start(g *group) {
	ctx, cancel := context.WithCancel(d.ctx)
	g.stop = cancel
	d.work.Go(func() { g.run(ctx) })
}

func (d *Distributor) draining() bool {
	select {
	case <-d.quit:
		return true
	default:
		return false
	}
}

// Serve accepts workers from ln until Shutdown, and closes ln.
func (d *Distributor) Serve(ln net.Listener) error {
	defer ln.Close()
	d.mu.Lock()
	if d.draining() {
		d.mu.Unlock()
		return ErrClosed
	}
	d.listeners[ln] = struct{}{}
	d.mu.Unlock()
	for wait := time.Duration(0); ; {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			wait = 0
			d.accept(nc, d.TLS)
		case d.draining():
			return ErrClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			d.say("accept", "cannot accept workers; trying again", err)
			pause(d.ctx, wait)
		}
	}
}

// accept serves nc on goroutines of its own, or turns it away.
func (d *Distributor) accept(nc net.Conn, config *tls.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ip := peerOf(nc)
	from := origin.Network(ip)
	if err := d.mayConnect(ip); err != nil {
		d.refused(nc, err)
		if config == nil { // else it would be no TLS
			d.tellRefused(nc, err)
		}
		nc.Close()
		return
	}
	d.conns[nc] = struct{}{}
	d.perIP[from]++
	d.serving.Go(func() { // ends with the connection, which Shutdown closes
		d.serve(nc, config)
		d.mu.Lock()
		delete(d.conns, nc)
		if d.perIP[from]--; d.perIP[from] == 0 {
			delete(d.perIP, from)
		}
		d.mu.Unlock()
	})
}

// mayConnect says why another connection of an address is not taken. d.mu is held.
func (d *Distributor) mayConnect(ip netip.Addr) error {
	switch {
	case d.draining():
		return &refusal{"draining", errors.New("the collector goes down; come back later")}
	case len(d.conns) >= d.MaxWorkers:
		return &refusal{"max_workers", fmt.Errorf("too many workers are connected, %d of max_workers; come back later", len(d.conns))}
	case d.MaxWorkersPerIP > 0 && bounded(ip) && d.perIP[origin.Network(ip)] >= d.MaxWorkersPerIP:
		return &refusal{"max_workers_per_ip", fmt.Errorf("too many workers of %s are connected, %d of max_workers_per_ip; come back later", origin.Name(ip), d.perIP[origin.Network(ip)])}
	}
	return nil
}

// peerOf is a connection's address alone; the zero Addr within this process.
func peerOf(nc net.Conn) netip.Addr {
	return origin.Parse(nc.RemoteAddr().String())
}

// bounded reports whether what an address has is bounded by itself: this machine's
// own is not, for proxies and many workers come from there.
func bounded(ip netip.Addr) bool { return ip.IsValid() && !origin.Local(ip) }

// Connect is a connection for a worker within this process.
func (d *Distributor) Connect(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	d.accept(ours, nil)
	return theirs, nil
}

// serve is the life of a connection.
func (d *Distributor) serve(raw net.Conn, config *tls.Config) {
	defer raw.Close()
	nc := raw
	raw.SetDeadline(time.Now().Add(d.HandshakeTimeout))
	if config != nil {
		nc = tls.Server(raw, config)
	}
	r := protocol.NewReader(nc, 4096)
	hello, err := r.Hello()
	if err != nil {
		d.refuse(nc, fmt.Errorf("greeting: %w", err))
		return
	}
	if tc, ok := nc.(*tls.Conn); ok && d.Allowed != nil {
		if err := d.Allowed(tc.ConnectionState()); err != nil {
			d.refuse(nc, &refusal{"certificate", err})
			return
		}
	}
	m, welcome, err := d.admit(nc, &hello)
	if err != nil {
		d.refuse(nc, err)
		return
	}
	m.send(welcome) // before all that is queued already
	raw.SetDeadline(time.Time{})
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { m.write(done) }) // ends with done
	err = m.read(r)
	broke := protocol.Broke(err) || errors.Is(err, errBreach)
	m.group.leave(m, !broke)
	if broke {
		d.say("breach", "a worker broke the protocol and was let go", err, "peer", raw.RemoteAddr().String(), "group", m.group.name)
		d.counts.breaches.Add(1)
		m.farewell(err)
	} else {
		close(done)
	}
	writing.Wait()
}

// refusal is why a worker is not taken, also in one of a few words.
type refusal struct {
	reason string
	error
}

func (r *refusal) Unwrap() error { return r.error }

// refuse tells a peer why it is closed.
func (d *Distributor) refuse(nc net.Conn, err error) {
	d.refused(nc, err)
	d.tellRefused(nc, err)
}

// refused counts and logs that a peer is not taken.
func (d *Distributor) refused(nc net.Conn, err error) {
	reason := "greeting"
	var r *refusal
	if errors.As(err, &r) {
		reason = r.reason
	}
	d.counts.refuse(reason)
	d.say(reason, "a worker was refused", err, "peer", nc.RemoteAddr().String())
}

func (d *Distributor) tellRefused(nc net.Conn, err error) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write(protocol.AppendFrame(nil, &protocol.Frame{Kind: protocol.KindFault, Reason: short(err.Error())}))
}

func short(s string) string { return s[:min(len(s), protocol.MaxString)] }

var groupName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// admit makes a member of who greets so, and the group if it is new.
func (d *Distributor) admit(nc net.Conn, h *protocol.Hello) (m *member, welcome []byte, err error) {
	orDefault(&h.Credit, 1000)
	orDefault(&h.Weight, 1)
	orDefault(&h.Batch, h.Credit)
	orDefault(&h.Lease, d.Lease)
	if h.Name == "" {
		h.Name = nc.RemoteAddr().String()
	}
	switch {
	case !groupName.MatchString(h.Group) || h.Group[0] == '.':
		return nil, nil, fmt.Errorf("group %.80q: want 1 to 64 letters, digits, '.', '_' and '-', the first not a '.'", h.Group)
	case h.Credit < 1 || h.Credit > d.MaxCredit:
		return nil, nil, fmt.Errorf("credit of %d lines; want 1 to %d", h.Credit, d.MaxCredit)
	case h.Weight < 1 || h.Weight > 100:
		return nil, nil, fmt.Errorf("weight %d; want 1 to 100", h.Weight)
	case h.Batch < 1:
		return nil, nil, fmt.Errorf("batch of %d lines; want 1 or more", h.Batch)
	case !slices.Contains([]string{"", "host", "source", "host+source"}, h.Key):
		return nil, nil, fmt.Errorf("key %.80q; want host, source or host+source", h.Key)
	case h.Key != "" && d.Sink.Format == "raw":
		return nil, nil, errors.New("lines of a log in the raw format have no host and no source to be keys")
	}
	if _, err := d.Sink.Matcher(termsOf(h).filter); err != nil { // before there is a group
		return nil, nil, err
	}
	g, err := d.group(h.Group, h.From, peerOf(nc))
	if err != nil {
		return nil, nil, err
	}
	m = &member{group: g, nc: nc, hello: *h, since: time.Now(), wake: make(chan struct{}, 1), id: d.members.Add(1),
		credit: h.Credit, lease: max(min(h.Lease, d.Lease), 100*time.Millisecond)}
	g.mu.Lock()
	welcome = protocol.AppendWelcome(nil, &protocol.Welcome{Log: d.Sink.Status().Log, Group: g.name, Position: g.low().String(),
		Format: d.Sink.Format, Credit: d.MaxCredit, Lease: m.lease, Attempts: d.Attempts})
	g.mu.Unlock()
	if err := g.join(m); err != nil {
		return nil, nil, err
	}
	return m, welcome, nil
}

// mayMake says why a worker of an address may not make a new group. d.mu is held.
func (d *Distributor) mayMake(name string, ip netip.Addr) error {
	const remedy = "remove one with `fanin-collector forget --group NAME`"
	if len(d.groups) >= d.MaxGroups {
		return &refusal{"max_groups", fmt.Errorf("group %s is new, and there are %d already, which is max_groups; %s", name, d.MaxGroups, remedy)}
	}
	made := 0
	for _, g := range d.groups {
		if g.maker == origin.Network(ip) {
			made++
		}
	}
	if d.MaxGroupsPerIP > 0 && bounded(ip) && made >= d.MaxGroupsPerIP {
		return &refusal{"max_groups_per_ip", fmt.Errorf("group %s is new, and %s made %d already, which is max_groups_per_ip; %s", name, origin.Name(ip), made, remedy)}
	}
	return nil
}

// group finds a group, or makes it for a worker of an address.
func (d *Distributor) group(name, from string, ip netip.Addr) (*group, error) {
	d.mu.Lock()
	g, err := d.groups[name], d.mayMake(name, ip)
	d.mu.Unlock()
	if g != nil {
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	if d.cursors.lost {
		from = "start" // nobody knows whether it is new
	}
	at, err := d.Sink.Place(d.ctx, from)
	if err != nil {
		return nil, fmt.Errorf("group %s is new and shall begin at %q: %w", name, from, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.groups[name]; g != nil {
		return g, nil
	}
	if err := d.mayMake(name, ip); err != nil { // others made some meanwhile
		return nil, err
	}
	g = newGroup(d, name, at)
	g.maker = origin.Network(ip)
	d.groups[name] = g
	d.start(g)
	d.saveSoon()
	d.Log.Info("a new group", "group", name, "from", at.String())
	return g, nil
}

// all lists the groups by name.
func (d *Distributor) all() []*group {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Collect(maps.Values(d.groups))
	slices.SortFunc(list, func(a, b *group) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return list
}

// ErrNoGroup is of a group that is not there.
var ErrNoGroup = errors.New("no such group")

func (d *Distributor) known(name string) (*group, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.groups[name]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoGroup, name)
}

// Replay moves a group to another place of the log, see sink.Sink.Place, and
// returns its position. What its workers have at the moment no longer counts.
func (d *Distributor) Replay(ctx context.Context, name, from string) (sink.Position, error) {
	g, err := d.known(name)
	if err != nil {
		return sink.Position{}, err
	}
	at, err := d.Sink.Place(ctx, from)
	if err != nil {
		return at, err
	}
	g.move(at)
	return at, d.cursors.flush(ctx)
}

// Forget removes a group and lets its workers go. Its dead letters stay.
func (d *Distributor) Forget(ctx context.Context, name string) error {
	g, err := d.known(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.groups, name)
	d.mu.Unlock()
	g.remove()
	d.cursors.forgot.Store(true)
	return d.cursors.flush(ctx)
}

// Needed is the lowest position that a group is not done with; false: there is
// no group. Before the distributor is open, everything is needed.
func (d *Distributor) Needed() (low sink.Position, any bool) {
	select {
	case <-d.isOpen():
	default:
		return low, true
	}
	for _, g := range d.all() {
		g.mu.Lock()
		at := g.low()
		g.mu.Unlock()
		if !any || at.Compare(low) < 0 {
			low, any = at, true
		}
	}
	return low, any
}

// Expire is told of a file that retention is about to remove: what groups have
// not had of it is counted and given up, durably, before it goes. It waits until
// the distributor is open.
func (d *Distributor) Expire(ctx context.Context, gen, next sink.Generation) error {
	select {
	case <-d.isOpen():
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, g := range d.all() {
		if err := g.expire(ctx, gen, sink.Position{Generation: next.Number}); err != nil {
			return err
		}
	}
	return d.cursors.flush(ctx)
}

// afterAll is where a group goes on whose position is not in the log: behind the
// file that it names, or at the beginning of the live one.
func (d *Distributor) afterAll(at sink.Position) sink.Position {
	end := d.Sink.End()
	for _, g := range d.Sink.Status().Generations {
		if g.Number > at.Generation {
			return sink.Position{Generation: g.Number}
		}
	}
	if at.Generation > end.Generation {
		return sink.Position{Generation: end.Generation}
	}
	return end
}

// drainTime is how long a shutdown waits for workers that are at it.
const drainTime = 5 * time.Second

// Shutdown hands nothing more out, tells the workers, waits a while for their
// answers, no longer than ctx allows, and saves where the groups stand.
func (d *Distributor) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	if !d.draining() {
		close(d.quit)
	}
	for ln := range d.listeners {
		ln.Close()
	}
	d.mu.Unlock()
	for _, g := range d.all() {
		g.drain()
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(drainTime); d.counts.inFlight.Load() > 0 && time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	d.mu.Lock()
	for nc := range d.conns {
		nc.Close()
	}
	d.mu.Unlock()
	d.serving.Wait()
	last, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	err := d.cursors.flush(last)
	d.cancel()
	d.work.Wait()
	return errors.Join(err, d.cursors.close())
}

// deliverySize is how many bytes a delivery may have, so that those which wait
// for all workers stay within bounds.
func (d *Distributor) deliverySize() int {
	return int(min(max(allQueues/maxQueue/max(d.counts.workers.Load(), 1), leastShare), maxDelivery))
}

func (d *Distributor) buffer() []byte {
	if b, ok := d.bufs.Get().(*[]byte); ok && cap(*b) <= 2*d.deliverySize() {
		return (*b)[:0]
	}
	return make([]byte, 0, leastShare)
}

func (d *Distributor) recycle(b []byte) {
	if b != nil {
		d.bufs.Put(&b)
	}
}

// score ranks members for a slot: rendezvous hashing with weights.
func (d *Distributor) score(m *member, slot int) float64 {
	h := maphash.Comparable(d.seed, struct {
		id   uint64
		slot int
	}{m.id, slot})
	u := (float64(h>>11) + 0.5) / (1 << 53)
	return -float64(m.hello.Weight) / math.Log(u)
}
