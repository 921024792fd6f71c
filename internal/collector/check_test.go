package collector

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanin/internal/certs/certstest"
	"fanin/internal/daemon"
	"fanin/internal/freeport"
	"fanin/internal/waittest"
)

// place is a directory with all that a configuration may name, good and bad.
type place struct {
	dir     string
	busy    net.Listener
	free    [2]int
	good    [3]string // authority, certificate, key
	expired [3]string
	other   string // the key of another certificate
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{dir: t.TempDir()}
	var err error
	if p.busy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.busy.Close() })
	free, err := freeport.Find(len(p.free))
	if err != nil {
		t.Fatal(err)
	}
	copy(p.free[:], free)
	a := certstest.New(t)
	files := func(name string, c x509.Certificate) [3]string {
		dir := filepath.Join(p.dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		ca, cert, key := a.Files(dir, a.Issue(c))
		return [3]string{ca, cert, key}
	}
	p.good = files("good", x509.Certificate{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)})
	p.expired = files("expired", x509.Certificate{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(-time.Hour)})
	p.other = files("other", x509.Certificate{NotAfter: time.Now().Add(time.Hour)})[2]
	return p
}

// fresh makes a directory for one log, with a file, links and other things in it.
func (p *place) fresh(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(p.dir, "log")
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("old.log"), []byte("an older line\n"), 0o600), os.Symlink("old.log", at("link.log")), os.Symlink("none.log", at("dangling.log")),
		os.Mkdir(at("dir.log"), 0o700), syscall.Mkfifo(at("pipe.log"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// loadText reads a configuration from its text.
func loadText(t testing.TB, dir, text string) (*settings, error) {
	t.Helper()
	path := filepath.Join(dir, "collector.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (&options{config: path}).load()
}

// check is what `check` says of a text.
func check(t testing.TB, dir, text string) (*settings, error) {
	t.Helper()
	s, err := loadText(t, dir, text)
	if err == nil {
		err = s.checkEnvironment(context.Background())
	}
	return s, err
}

// start runs a collector until it serves or ends, and stops it then.
func start(s *settings) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := newServer(s, nil)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }() // ends by stop
	select {
	case err := <-ended:
		return cmp.Or(err, errors.New("it ended without being stopped"))
	case <-c.opened:
	}
	if err := ask(ctx, s.state(), "GET", "/healthz", nil); err != nil {
		return err
	}
	stop()
	return <-ended
}

// TestCheckedStarts: what check accepts starts, whatever the configuration.
func TestCheckedStarts(t *testing.T) {
	p := newPlace(t)
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		dir := p.fresh(t)
		text := p.generate(r, dir)
		s, err := check(t, dir, text)
		if err != nil {
			refused++
			return
		}
		accepted++
		if err := start(s); err != nil {
			r.Fatalf("check accepted this, and it does not start: %v\n%s", err, text)
		}
	})
	if least := (accepted + refused) / 20; accepted < least || refused < least {
		t.Errorf("%d accepted and %d refused: too few of one to mean anything", accepted, refused)
	}
}

// TestAnyPortAfterNamed: datagrams on any port prefer the number that TCP got, which another
// listener names for datagrams at the same address.
func TestAnyPortAfterNamed(t *testing.T) {
	p := newPlace(t)
	dir := p.fresh(t)
	text := fmt.Sprintf("[collector]\nlog_level = \"error\"\n[collector.log]\nsync = \"none\"\npath = %q\n", filepath.Join(dir, "all.log"))
	for _, x := range []struct{ kind, port, more string }{{"tcp", fmt.Sprint(p.free[0]), ""}, {"udp", "0", ""}, {"gelf", fmt.Sprint(p.free[0]), "network = \"udp\"\n"}} {
		text += fmt.Sprintf("[[collector.%s]]\nlisten = \"127.0.0.1:%s\"\n%s", x.kind, x.port, x.more)
	}
	s, err := check(t, dir, text)
	if err == nil {
		err = start(s)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// generate makes a configuration of which about half is right.
func (p *place) generate(r *rapid.T, dir string) string {
	var b strings.Builder
	pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(r, what) }
	often := func(what, usual string, rare ...string) string { // a configuration has many chances to be wrong
		if rapid.IntRange(0, 7).Draw(r, what+"?") < 7 {
			return usual
		}
		return pick(what, rare...)
	}
	fmt.Fprintf(&b, "[collector]\nlog_level = \"error\"\nmax_in_flight = %q\nstate = %q\n", often("memory", "24MiB", "100TiB"),
		often("state", filepath.Join(dir, "state"), filepath.Join(dir, "old.log"), filepath.Join(dir, strings.Repeat("s", 100)), filepath.Join(dir, "pipe.log"), dir))
	fmt.Fprintf(&b, "[collector.log]\nsync = \"none\"\npath = %q\n", filepath.Join(dir, often("log", pick("good log", "all.log", "old.log", "link.log", "new/all.log"),
		"dir.log", "pipe.log", "dangling.log", "new/", "wal", strings.Repeat("x", 250), "old.log/all.log")))
	listen := func() string {
		host := pick("host", "127.0.0.1", "127.0.0.1", "localhost", "0.0.0.0", "[::]", "127.0.0.2")
		port := often("port", pick("good port", "0", "0", fmt.Sprint(p.free[0]), fmt.Sprint(p.free[1])), fmt.Sprint(p.busy.Addr().(*net.TCPAddr).Port), "70000", "none")
		return fmt.Sprintf("listen = %q\ninsecure = true\n", host+":"+port)
	}
	tls := func() string {
		f := p.good
		switch often("tls", "none", "good", "good", "expired", "other", "missing") {
		case "none":
			return ""
		case "expired":
			f = p.expired
		case "other":
			f[2] = p.other
		case "missing":
			f[1] += ".none"
		}
		return fmt.Sprintf("tls = {cert = %q, key = %q, client_ca = %q}\n", f[1], f[2], f[0])
	}
	for range rapid.IntRange(0, 2).Draw(r, "tcp") {
		b.WriteString("[[collector.tcp]]\n" + listen() + tls())
	}
	for range rapid.IntRange(0, 2).Draw(r, "udp") {
		b.WriteString("[[collector.udp]]\n" + listen())
	}
	for range rapid.IntRange(0, 1).Draw(r, "gelf") {
		b.WriteString("[[collector.gelf]]\n" + listen())
		if rapid.Bool().Draw(r, "datagrams") {
			b.WriteString("network = \"udp\"\n")
		} else {
			b.WriteString("network = \"tcp\"\n" + tls())
		}
	}
	for range rapid.IntRange(0, 1).Draw(r, "relp") {
		b.WriteString("[[collector.relp]]\n" + listen() + tls())
	}
	for _, table := range []string{"http", "work"} {
		if rapid.Bool().Draw(r, table) {
			b.WriteString("[collector." + table + "]\n" + listen() + tls())
		}
	}
	if rapid.IntRange(0, 7).Draw(r, "nats") == 0 {
		fmt.Fprintf(&b, "[[collector.nats]]\nurl = \"nats://127.0.0.1:1\"\nsubjects = [%q]\ntail = %q\n", pick("subject", "logs.>", "fanin.>", "show.a.b"), pick("tail", "show", "fanin.tail"))
	}
	return b.String()
}

// refuses tests that check refuses a text, and whether a collector starts with it.
func (p *place) refuses(t *testing.T, name, text, want string, starts bool) {
	t.Helper()
	port := func(i int) string { return fmt.Sprint(p.free[i]) }
	t.Run(name, func(t *testing.T) {
		dir := p.fresh(t)
		if !strings.Contains(text, "[collector.log]") {
			text = "[collector.log]\nsync = \"none\"\npath = \"DIR/all.log\"\n" + text
		}
		text = strings.NewReplacer("DIR", dir, "P0", port(0), "P1", port(1), "BUSY", p.busy.Addr().String()).Replace(text)
		s, err := check(t, dir, text)
		if err == nil || !strings.Contains(err.Error(), want) || daemon.Code(err) != daemon.ExitConfig {
			t.Errorf("check says %v, with code %d; want %q", err, daemon.Code(err), want)
		}
		if s == nil { // not even loaded, by the start neither
			return
		}
		if err := start(s); (err == nil) != starts {
			t.Errorf("the start says %v", err)
		}
	})
}

// TestCheckRefuses: each of these is found by check, with its place; and the start
// refuses it too, as a mistake of the configuration, but for what may pass by itself.
func TestCheckRefuses(t *testing.T) {
	p := newPlace(t)
	f := func(name, text, want string, starts bool) { p.refuses(t, name, text, want, starts) }
	tcp := func(more string) string { return "[[collector.tcp]]\nlisten = \"127.0.0.1:P0\"\n" + more }
	tls := func(ca, cert, key string) string {
		return tcp(fmt.Sprintf("tls = {cert = %q, key = %q, client_ca = %q}\n", cert, key, ca))
	}
	f("an unset variable", "[[collector.tcp]]\nlisten = \"127.0.0.1:${FANIN_NOT_SET}\"\n", "collector.toml:5: listen: the environment variable FANIN_NOT_SET is not set", false)
	f("a port twice", tcp("")+tcp(""), `listens already`, false)
	f("a port for tcp and http", tcp("")+"[collector.http]\nlisten = \"127.0.0.1:P0\"\n", `collector.tcp[0] listens already`, false)
	f("a port for http and work", "[collector.http]\nlisten = \"localhost:P0\"\n[collector.work]\nlisten = \"127.0.0.1:P0\"\n", `collector.http listens already`, false)
	f("a port of every address", tcp("")+"[collector.http]\ninsecure = true\nlisten = \"0.0.0.0:P0\"\n", `listens already`, false)
	f("a port of every address of both families", tcp("")+"[collector.http]\ninsecure = true\nlisten = \"[::]:P0\"\n", `listens already`, false)
	f("a port twice for udp", strings.Repeat("[[collector.udp]]\nlisten = \"127.0.0.1:P0\"\n", 2), `listens already`, false)
	f("a port of another program", "[collector.http]\nlisten = \"BUSY\"\n", "address already in use", false)
	f("no port", "[[collector.tcp]]\nlisten = \"127.0.0.1:99999\"\n", "want a port from 0 to 65535", false)
	f("address of another machine", "[[collector.tcp]]\ninsecure = true\nlisten = \"203.0.113.9:P0\"\n", "cannot assign", false)
	f("expired", tls(p.good[0], p.expired[1], p.expired[2]), "collector.tcp[0].tls: certificate "+p.expired[1]+" () expired on", true)
	f("key of another", tls(p.good[0], p.good[1], p.other), "private key does not match", false)
	f("unreadable key", tls(p.good[0], p.good[1], p.good[2]+".none"), "no such file", false)
	f("bad authority", tls(p.good[2], p.good[1], p.good[2]), "holds no certificate", false)
	f("bad authority for http", "[collector.http]\nlisten = \"127.0.0.1:P0\"\n"+fmt.Sprintf("tls = {cert = %q, key = %q, client_ca = %q}\n", p.good[1], p.good[2], p.good[2]), "collector.http.tls: ", false)
	f("bad authority for work", "[collector.work]\nlisten = \"127.0.0.1:P0\"\n"+fmt.Sprintf("tls = {cert = %q, key = %q, client_ca = %q}\n", p.good[1], p.good[2], p.good[2]), "collector.work.tls: ", false)
	f("memory", "[collector]\nmax_in_flight = \"100TiB\"\n", "collector.max_in_flight is 100TiB, and this machine", false)
	f("memory for datagrams", "[[collector.udp]]\nlisten = \"127.0.0.1:P0\"\nqueue = \"100TiB\"\n", "collector.udp[0].queue is 100TiB", false)
	f("log is a directory", "[collector.log]\nsync = \"none\"\npath = \"DIR/dir.log\"\n", "is a directory; it must be a regular file", false)
	f("log is a pipe", "[collector.log]\nsync = \"none\"\npath = \"DIR/pipe.log\"\n", "is a named pipe (FIFO)", false)
	f("log is a link into nowhere", "[collector.log]\nsync = \"none\"\npath = \"DIR/dangling.log\"\n", "which is not there", false)
	f("state is a file", "[collector]\nstate = \"DIR/old.log\"\n", "is a file; it must be a directory", false)
	f("state too deep", "[collector]\nstate = \"DIR/"+strings.Repeat("s", 100)+"\"\n", "sockets allow 107", false)
	nats := "[[collector.nats]]\nurl = \"nats://127.0.0.1:1\"\n"
	again := "the lines again that it publishes there"
	f("own tail", nats+"subjects = [\"show.>\"]\ntail = \"show\"\n", again, false)
	f("own tail by a wildcard", nats+"agents = \"\"\nsubjects = [\"*.a.b\"]\ntail = \"show\"\n", again, false)
	f("everything", nats+"agents = \"\"\nsubjects = [\">\"]\ntail = \"show\"\n", again, false)
	f("own work queue", nats+"subjects = [\"work.>\"]\n[collector.nats.work]\nstream = \"W\"\ngroup = \"g\"\n", again, false)
	f("own tail of another table", nats+"tail = \"show\"\n"+nats+"agents = \"\"\nsubjects = [\"show.>\"]\n", again, false)
	f("agents' messages", nats+"subjects = [\"*.batch.x\"]\n", "taken for lines", false)
	f("beside agents' messages", nats+"subjects = [\"fanin.x\"]\n", "taken for lines", false)
	f("tail among agents' messages", nats+"tail = \"fanin\"\n", "without end", false)
	f("work queue in the tail", nats+"tail = \"work\"\n[collector.nats.work]\nstream = \"W\"\ngroup = \"g\"\n", "published there twice", false)
	f("agents of one server twice", nats+nats, "received twice", false)
	redis := "[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\n"
	f("redis without url", "[[collector.redis]]\nchannels = [\"a\"]\n", "url is missing", false)
	f("redis without effect", redis, "the table has no effect", false)
	f("redis on another machine", "[[collector.redis]]\nurl = [\"redis://127.0.0.1:1\", \"redis://192.0.2.1\"]\nchannels = [\"a\"]\n", "use rediss://", false)
	f("redis with a password in url", "[[collector.redis]]\nurl = \"redis://:pass@127.0.0.1\"\nchannels = [\"a\"]\n", "user and password_file", false)
	f("redis with a user alone", redis+"user = \"u\"\nchannels = [\"a\"]\n", "user needs password_file", false)
	f("redis without the password file", redis+"password_file = \"DIR/none\"\nchannels = [\"a\"]\n", "/none", true)
	f("redis with half a certificate", redis+"tls = {cert = \"c\"}\nchannels = [\"a\"]\n", "tls has one of cert and key", false)
	f("a cluster with Sentinels", redis+"cluster = true\nsentinel_master = \"m\"\nchannels = [\"a\"]\n", "not both", false)
	f("a channel twice", redis+"channels = [\"a\", \"a\"]\n", "received twice", false)
	f("an empty name", redis+"lists = [\"\"]\n", "lists has an empty name", false)
	f("a pattern of streams", redis+"streams = [\"logs.*\"]\n", "only channels may be patterns", false)
	f("a group for nothing", redis+"channels = [\"a\"]\ngroup = \"g\"\n", "group has no effect without streams", false)
	f("a consumer without a group", redis+"streams = [\"a\"]\nconsumer = \"g\"\n", "consumer has no effect without group", false)
	f("channels of two tables", redis+"channels = [\"logs.*\"]\n[[collector.redis]]\nurl = \"redis://localhost:1/3\"\nchannels = [\"*.web\"]\n", "overlaps \"logs.*\" of collector.redis[0]", false)
	f("a list of two servers", redis+"lists = [\"q\"]\n[[collector.redis]]\nurl = \"redis://127.0.0.1:2\"\nlists = [\"q\"]\n", "tell the servers apart", false)
	f("own channels", redis+"channels = [\"*.web\"]\n[collector.redis.output]\nchannel = \"fanin.{source}\"\n", "received again, for ever", false)
	f("own channels of another table", redis+"[collector.redis.output]\nchannel = \"fanin.{host}\"\n[[collector.redis]]\nurl = \"redis://127.0.0.1:1/2\"\nchannels = [\"fanin.?\"]\n", "received again, for ever", false)
	f("own list", redis+"lists = [\"q\"]\n[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\n[collector.redis.output]\nlist = \"q\"\n", "received again, for ever", false)
	f("a stream of two tables", strings.Repeat(redis+"streams = [\"logs\"]\n", 2), "is read by collector.redis[0], too", false)
	f("too large messages", redis+"channels = [\"a\"]\nmax_message = \"1GiB\"\n", "max_message is 1GiB", false)
	f("subjects twice", nats+"subjects = [\"logs.>\", \"logs.a\"]\n", "received twice", false)
}

// TestCheckRefusesListeners: the same, for what all listeners have.
func TestCheckRefusesListeners(t *testing.T) {
	p := newPlace(t)
	f := func(name, text, want string, starts bool) { p.refuses(t, name, text, want, starts) }
	tcp := func(more string) string { return "[[collector.tcp]]\nlisten = \"127.0.0.1:P0\"\n" + more }
	f("a network that is none", tcp("allow = [\"router-1\"]\n"), "collector.toml:6: allow: \"router-1\" is no network", false)
	f("no network", tcp("allow = []\n"), "allow is empty", false)
	f("a name for a name", tcp("names = {\"router-1\" = \"a\"}\n"), "collector.toml:6: names: \"router-1\" is no address", false)
	f("a name with a blank", tcp("names = {\"192.0.2.1\" = \"router 1\"}\n"), "\"router 1\" cannot be a host", false)
	f("a name that is a number", tcp("names = {\"192.0.2.1\" = 1}\n"), "\"192.0.2.1\" is 1; want a string", false)
	f("names for a list", tcp("names = [\"a\"]\n"), "names is a list; it is a table: write names = {...}", false)
	f("an address twice", tcp("names = {\"192.0.2.1\" = \"a\", \"::ffff:192.0.2.1\" = \"b\"}\n"), "is there twice, written in two ways", false)
	f("networks of workers", "[collector.work]\nlisten = \"127.0.0.1:P0\"\nallow = [\"x\"]\n", "allow: \"x\" is no network", false)
	f("an old TLS for http", "[collector.http]\nlisten = \"127.0.0.1:P0\"\ntls = {cert = \"a\", key = \"b\", min_version = \"1.2\"}\n", "is for listeners to which devices send", false)
	f("a TLS that is none", tcp("tls = {cert = \"a\", key = \"b\", min_version = \"1.1\"}\n"), "min_version is \"1.1\"; want one of", false)
	f("no name of systemd's", "[[collector.tcp]]\nlisten = \"systemd:\"\n", "want the FileDescriptorName= of a .socket unit", false)
	f("a socket of systemd's twice", strings.Repeat("[[collector.tcp]]\nlisten = \"systemd:a\"\n", 2), "which collector.tcp[0] has already", false)
	unix := "[[collector.unix]]\npath = \"DIR/log.sock\"\n"
	f("a socket twice", unix+unix, "which collector.unix[0] has already", false)
	f("a socket without a path", "[[collector.unix]]\n", "path is missing", false)
	f("a socket of no type", unix+"type = \"seqpacket\"\n", "type is \"seqpacket\"; want one of", false)
	f("a socket with an address", "[[collector.unix]]\nlisten = \"127.0.0.1:514\"\n", "want path for a socket to be made", false)
	f("a queue of a stream", unix+"type = \"stream\"\nqueue = \"1MiB\"\n", "queue has no effect with type = \"stream\"", false)
	f("connections of datagrams", unix+"max_conns = 5\n", "max_conns has no effect with type = \"datagram\"", false)
	f("silence of datagrams", unix+"idle_timeout = \"5s\"\n", "idle_timeout has no effect with type = \"datagram\"", false)
	f("a path that is too long", "[[collector.unix]]\npath = \"/"+strings.Repeat("s", 110)+"\"\n", "an absolute path of at most 107 bytes", false)
	f("a format that is none", tcp("format = \"rfc3164\"\n"), "format is \"rfc3164\"; want one of", false)
	f("a time of plain lines", tcp("format = \"plain\"\ntime = \"sender\"\n"), "time has no effect with format", false)
	f("a zone that is none", tcp("time = \"sender\"\ntimezone = \"Mars\"\n"), "timezone is \"Mars\", which is not known", false)
}

// TestCheckAccepts: what looks like a clash and is none.
func TestCheckAccepts(t *testing.T) {
	p := newPlace(t)
	for _, text := range []string{
		"[[collector.tcp]]\nlisten = \"127.0.0.1:P0\"\n[[collector.udp]]\nlisten = \"127.0.0.1:P0\"\n",
		"[[collector.tcp]]\nlisten = \"127.0.0.1:P0\"\n[[collector.tcp]]\nlisten = \"127.0.0.2:P0\"\n",
		"[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n",
		"[[collector.tcp]]\nlisten = \"127.0.0.1:P0\"\n[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n[[collector.udp]]\nlisten = \"127.0.0.1:P0\"\n",
		"[[collector.nats]]\nurl = \"nats://127.0.0.1:1\"\nsubjects = [\"logs.>\"]\ntail = \"fanin.tail\"\n",
		"[[collector.nats]]\nurl = \"nats://127.0.0.1:1\"\nsubjects = [\"logs.>\"]\n[[collector.nats]]\nurl = \"nats://127.0.0.1:2\"\nsubjects = [\"logs.>\"]\n",
		"[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\nchannels = [\"logs.*\"]\n[[collector.redis]]\nurl = \"redis://127.0.0.1:2\"\nchannels = [\"logs.*\"]\n",
		"[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\nstreams = [\"a\"]\n[[collector.redis]]\nurl = \"redis://127.0.0.1:1/1\"\nstreams = [\"a\"]\n",
		"[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\nstreams = [\"a\"]\n[[collector.redis]]\nurl = \"redis://127.0.0.1:2\"\nname = \"b\"\nstreams = [\"a\"]\n",
		"[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\nstreams = [\"a\"]\n[collector.redis.output]\nstream = \"b\"\n",
		"[[collector.redis]]\nurl = [\"redis://127.0.0.1:1\", \"redis://127.0.0.1:2\"]\nsentinel_master = \"m\"\nstreams = [\"a\"]\ngroup = \"g\"\nconsumer = \"c\"\nmessage = \"\"\n",
		"[[collector.redis]]\nurl = \"redis://192.0.2.1\"\ninsecure = true\nlists = [\"a\"]\n[[collector.redis]]\nurl = \"rediss://192.0.2.1\"\ncluster = true\nlists = [\"b\"]\n",
	} {
		dir := p.fresh(t)
		text = strings.NewReplacer("P0", fmt.Sprint(p.free[0])).Replace(text) + fmt.Sprintf("[collector.log]\nsync = \"none\"\npath = %q\n", filepath.Join(dir, "all.log"))
		s, err := check(t, dir, text)
		if err == nil {
			err = start(s)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// TestCheckChangesNothing, whether or not it accepts; and of a running collector it
// says that it runs.
func TestCheckChangesNothing(t *testing.T) {
	p := newPlace(t)
	dir := p.fresh(t)
	text := fmt.Sprintf("[collector.log]\nsync = \"none\"\npath = %q\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n", filepath.Join(dir, "new", "all.log"))
	s, err := check(t, dir, text)
	if _, serr := os.Stat(filepath.Join(dir, "new")); err != nil || !errors.Is(serr, os.ErrNotExist) {
		t.Fatalf("check: %v; it made a directory: %v", err, serr)
	}
	serving(t, s, nil)
	if _, err := check(t, dir, text); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by another process: %s", filepath.Join(dir, "new"))) {
		t.Errorf("of a log that another collector has: %v", err)
	}
	// The state is deleted: the socket is there again, too.
	if err := os.RemoveAll(s.state()); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the control socket", func() bool { return ask(t.Context(), s.state(), "GET", "/healthz", nil) == nil })
}
