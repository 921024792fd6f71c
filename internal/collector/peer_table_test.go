package collector

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/internal/daemon"
	"fanin/internal/waittest"
)

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, network, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	nc, err := d.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// TestAllow: inputs with allow refuse what is not in it, and count that; what is allowed is shown
// with its name.
func TestAllow(t *testing.T) {
	keys := "allow = [\"127.0.0.2\", \"192.0.2.0/24\"]\nnames = {\"127.0.0.2\" = \"router-1\"}\n"
	c, _ := configured(t, keys+"[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n"+keys)
	for network, metric := range map[string]string{"tcp": "fanin_rejected_connections_total", "udp": "fanin_udp_dropped_datagrams_total"} {
		before := c.sink.Status().Lines
		io.WriteString(dialFrom(t, network, "127.0.0.1", c.address(t, network)), "refused\n")
		refused := c.counters.Counter(metric, "", "reason", "not_allowed")
		waittest.UntilEqual(t, "refused over "+network, 1, func() int { return int(testutil.ToFloat64(refused)) })
		io.WriteString(dialFrom(t, network, "127.0.0.2", c.address(t, network)), "allowed\n")
		waittest.Until(t, "a line over "+network, func() bool { return c.sink.Status().Lines > before })
	}
	text, err := os.ReadFile(c.sink.Status().Path)
	if got := string(text); err != nil || strings.Contains(got, "refused") || strings.Count(got, " router-1 ") != 2 {
		t.Errorf("%v, the log is\n%s", err, got)
	}
}

// TestFilter: the listeners that bring no lines refuse, too.
func TestFilter(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if open := (&allowed{}).filter(ln, nil); open != ln {
		t.Error("without allow the listener is another one")
	}
	refused := make(chan string, 1)
	only := (&allowed{Allow: []string{"127.0.0.2"}}).filter(ln, func(peer string) { refused <- peer })
	other := dialFrom(t, "tcp", "127.0.0.1", ln.Addr().String())
	dialFrom(t, "tcp", "127.0.0.2", ln.Addr().String())
	nc, err := only.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.RemoteAddr().String(); !strings.HasPrefix(got, "127.0.0.2:") {
		t.Errorf("%s is accepted", got)
	}
	if got := <-refused; got != other.LocalAddr().String() {
		t.Errorf("%s is refused", got)
	}
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("a refused connection goes on")
	}
}

// passed is a socket as systemd passes it.
func passed(t *testing.T, name string, s interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name)
}

// TestSystemdSockets: a listener takes the socket of its name and kind, and each that it cannot
// take is refused with the reason.
func TestSystemdSockets(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	reachable, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer reachable.Close()
	s := newSockets([]*os.File{passed(t, "syslog", tcp.(*net.TCPListener)), passed(t, "syslog", udp.(*net.UDPConn)), passed(t, "udp", udp.(*net.UDPConn)),
		passed(t, "two", tcp.(*net.TCPListener)), passed(t, "two", tcp.(*net.TCPListener)), passed(t, "open", reachable.(*net.TCPListener))})
	ln, err := s.listen("systemd:syslog", false)
	if err != nil || ln.Addr().String() != tcp.Addr().String() {
		t.Fatalf("listen: %v, %v", ln, err)
	}
	defer ln.Close()
	conn, err := s.listenPacket("systemd:syslog", false)
	if err != nil || conn.LocalAddr().String() != udp.LocalAddr().String() {
		t.Fatalf("listenPacket: %v, %v", conn, err)
	}
	defer conn.Close()
	for name, want := range map[string]string{"syslog": "another listener has it", "none": "systemd passed [\"syslog\"", "udp": "is a socket for udp, and this listener needs one for tcp",
		"two": "is there twice", "open": "which other machines can reach"} {
		ln, err := s.listen("systemd:"+name, false)
		if err == nil || !strings.Contains(err.Error(), want) || daemon.Code(err) != daemon.ExitConfig {
			t.Errorf("%s: %v, %v; want %q", name, ln, err, want)
		}
	}
	none := newSockets(nil)
	if _, err := none.listen("systemd:syslog", true); err == nil || !strings.Contains(err.Error(), "start the .socket unit") {
		t.Errorf("without any socket: %v", err)
	}
}
