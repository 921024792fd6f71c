package distribute

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/origin"
	"fanin/sink"
	"fanin/sink/distribute/protocol"
)

// from lets connections come from an address.
type from struct {
	net.Listener
	ip string
}

func (l *from) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &fromConn{nc, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(l.ip), 1))}, nil
}

type fromConn struct {
	net.Conn
	addr net.Addr
}

func (c *fromConn) RemoteAddr() net.Addr { return c.addr }

// serveFrom is the address of a listener whose connections come from ip.
func (b *bench) serveFrom(ip string) (addr string) {
	b.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	go b.dist.Serve(&from{ln, ip}) // ends by Shutdown
	return ln.Addr().String()
}

func (b *bench) rawAt(addr string, h protocol.Hello) *raw {
	here := b.addr
	defer func() { b.addr = here }()
	b.addr = addr
	return b.raw(h)
}

// TestPerAddress: one address can take neither all places of workers nor all
// groups; the next is told why, and another address is served.
func TestPerAddress(t *testing.T) {
	b := openNew(t, Settings{MaxWorkersPerIP: 4, MaxGroupsPerIP: 2})
	one, other := b.serveFrom("192.0.2.1"), b.serveFrom("192.0.2.2")
	b.rawAt(one, protocol.Hello{Group: "a"}).hear(protocol.KindWelcome)
	b.rawAt(one, protocol.Hello{Group: "b"}).hear(protocol.KindWelcome)
	if why := b.rawAt(one, protocol.Hello{Group: "c"}).fault(); !strings.Contains(why, "max_groups_per_ip") {
		t.Errorf("a group too many: %s", why)
	}
	b.wait("it to leave", func() bool { b.dist.door.mu.Lock(); defer b.dist.door.mu.Unlock(); return len(b.dist.door.conns) == 2 })
	b.rawAt(one, protocol.Hello{Group: "a"}).hear(protocol.KindWelcome)
	last := b.rawAt(one, protocol.Hello{Group: "b"})
	last.hear(protocol.KindWelcome)
	nc, err := net.Dial("tcp", one)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if f, err := protocol.NewReader(nc, 4096).Frame(); err != nil || !strings.Contains(f.Reason, "max_workers_per_ip") {
		t.Errorf("a worker too many hears %q, %v", f.Reason, err)
	}
	b.rawAt(other, protocol.Hello{Group: "c"}).hear(protocol.KindWelcome)
	for range 10 { // this machine's own are not bounded by themselves
		b.raw(protocol.Hello{Group: "d"}).hear(protocol.KindWelcome)
	}
	last.nc.Close()
	b.wait("it to leave", func() bool {
		b.dist.door.mu.Lock()
		defer b.dist.door.mu.Unlock()
		return b.dist.door.perIP[netip.MustParsePrefix("192.0.2.1/32")] == 3
	})
	b.rawAt(one, protocol.Hello{Group: "b"}).hear(protocol.KindWelcome)
	if err := b.dist.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	b.wait("its workers to leave", func() bool {
		b.dist.door.mu.Lock()
		defer b.dist.door.mu.Unlock()
		return b.dist.door.perIP[netip.MustParsePrefix("192.0.2.1/32")] == 2
	})
	b.rawAt(one, protocol.Hello{Group: "e"}).hear(protocol.KindWelcome)
	for reason, want := range map[string]uint64{"max_groups_per_ip": 1, "max_workers_per_ip": 1} {
		for i, r := range refusals {
			if n := b.dist.counts.refused[i].Load(); r == reason && n != want {
				t.Errorf("%s: %d counted", reason, n)
			}
		}
	}
}

// TestPerNetwork: an IPv6 network counts as one address. The bounds apply to every address
// except 127.0.0.1 and ::1, as for every listener.
func TestPerNetwork(t *testing.T) {
	for _, x := range []struct {
		from    []string
		refused bool
	}{
		{[]string{"2001:db8::1", "2001:db8::2"}, true}, {[]string{"2001:db8::1", "2001:db8:0:1::2"}, false},
		{[]string{"127.0.0.2", "127.0.0.2"}, true}, {[]string{"127.0.0.1", "127.0.0.1"}, false}, {[]string{"::1", "::1"}, false},
	} {
		d := New(&sink.Sink{}, Settings{MaxWorkers: 2, MaxWorkersPerIP: 1, MaxGroups: 2, MaxGroupsPerIP: 1})
		from := origin.Network(netip.MustParseAddr(x.from[0]))
		d.door.perIP[from], d.groups.byName["a"] = 1, &group{creator: from}
		ip := netip.MustParseAddr(x.from[1])
		if err := d.door.mayEnterLocked(ip, 2, 1); (err != nil) != x.refused {
			t.Errorf("%v: a worker: %v", x.from, err)
		}
		if err := d.mayCreateLocked("b", ip); (err != nil) != x.refused {
			t.Errorf("%v: a group: %v", x.from, err)
		}
	}
}

// TestWorkClientNames: a worker whose certificate has another name receives the reason, and
// creates no group.
func TestWorkClientNames(t *testing.T) {
	ca := certstest.New(t)
	b := openNew(t, Settings{Allowed: certs.Named([]string{"worker-*"}), TLS: &tls.Config{Certificates: []tls.Certificate{ca.Sign("collector")},
		ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert}})
	greet := func(name string) protocol.Frame {
		nc, err := tls.Dial("tcp", b.addr, &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign(name)}})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write(protocol.AppendHello(nil, &protocol.Hello{Group: name}))
		f, err := protocol.NewReader(nc, 4096).Frame()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := greet("worker-1"); f.Kind != protocol.KindWelcome {
		t.Errorf("worker-1 hears %+v", f)
	}
	if f := greet("web-1"); f.Kind != protocol.KindFault || !strings.Contains(f.Reason, "client_names") {
		t.Errorf("web-1 hears %+v", f)
	}
	if b.group("web-1").Group != "" {
		t.Error("a worker that was refused made a group")
	}
}

// TestShutdownUnopened ends a distributor that was never opened: what came before it in a start failed.
func TestShutdownUnopened(t *testing.T) {
	if err := New(&sink.Sink{}, Settings{}).Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
