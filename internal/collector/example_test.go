package collector

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"fanin/ingest"
	"fanin/internal/config"
	"fanin/internal/config/configtest"
	"fanin/internal/counters"
	"fanin/internal/redisconn"
	"fanin/internal/zmtp"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/livetail"
)

func mustLoad(t *testing.T, path string) *settings {
	t.Helper()
	s, err := (&options{config: path}).load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExampleLoads(t *testing.T) {
	mustLoad(t, configtest.Example)
	path := configtest.Uncomment(t, true)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// These are instead of others.
	b = regexp.MustCompile(`(?m)^(token_file|nkey_file|creds_file|queue|cluster|plain|pub|sequence|list|channel) = .*$`).ReplaceAll(b, nil)
	b = bytes.ReplaceAll(b, []byte(`network = "udp"`), []byte(`network = "both"`)) // tls is for connections
	from, to := bytes.Index(b, []byte("[collector.cluster]")), bytes.Index(b, []byte("# SIGHUP makes the agent"))
	b = slices.Delete(b, from, to)                          // without any other input
	out := bytes.Index(b, []byte("[collector.zmq.output]")) // from here on, sockets of the example bind
	b = append(b[:out], regexp.MustCompile(`server_key = "[^"]*", `).ReplaceAll(b[out:], nil)...)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, path)
}

// The table of a cluster stands in a file without inputs.
func TestExampleClusterLoads(t *testing.T) {
	b, err := os.ReadFile(configtest.Uncomment(t, true))
	if err != nil {
		t.Fatal(err)
	}
	from, to := bytes.Index(b, []byte("[collector.cluster]")), bytes.Index(b, []byte("# SIGHUP makes the agent"))
	b = regexp.MustCompile(`(?m)^(token_file|nkey_file|creds_file) = .*$`).ReplaceAll(b[from:to], nil)
	b = append([]byte("[collector.log]\npath = \"{partition}/all.log\"\n"), b...)
	path := filepath.Join(t.TempDir(), "collector.toml")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, path).Collector.Cluster
	d := new(clusterTable)
	if c.partitions() != d.partitions() || c.takeoverAfter() != d.takeoverAfter() {
		t.Errorf("%d partitions, takeover after %v: the example's are not the defaults", c.partitions(), c.takeoverAfter())
	}
}

// What the example calls a default is one: with and without it, the rooms are
// set up alike.
func TestExampleDefaults(t *testing.T) {
	without, with := mustLoad(t, configtest.Example), mustLoad(t, configtest.Uncomment(t, false))
	same := func(what string, a, b any) {
		t.Helper()
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", what, a, b)
		}
	}
	same("sink", without.sink(), with.sink())
	same("tcp", tcpFields(t, without), tcpFields(t, with))
	same("udp", udpFields(without), udpFields(with))
	a, b := without.Collector, with.Collector
	same("drain_timeout", a.DrainTimeout, b.DrainTimeout)
	same("max_in_flight", a.MaxInFlight, b.MaxInFlight)
	same("log_level", a.LogLevel, b.LogLevel)
	same("http", a.HTTP.Insecure, b.HTTP.Insecure)
	same("watchers", watchers(without), watchers(with))
	same("web", webFields(t, without), webFields(t, with))
	same("work", workFields(t, without), workFields(t, with))
	n := firstTable[*natsTable](b.Inputs)
	if n.agents() != new(natsTable).agents() {
		t.Errorf("agents = %q is not the default", n.agents())
	}
	same("nats", natsFields(with, n), natsFields(with, &natsTable{}))
	same("redis", redisFields(with, firstTable[*redisTable](b.Inputs)), redisFields(with, &redisTable{}))
	same("zmq", zmqFields(with, firstTable[*zmqTable](b.Inputs)), zmqFields(with, &zmqTable{}))
	same("gelf", gelfFields(with, firstTable[*gelfTable](b.Inputs)), gelfFields(with, &gelfTable{}))
	same("tcp insecure", firstTable[*tcpTable](a.Inputs).Insecure, firstTable[*tcpTable](b.Inputs).Insecure)
	same("udp insecure", firstTable[*udpTable](a.Inputs).Insecure, firstTable[*udpTable](b.Inputs).Insecure)
}

// firstTable is the first table of a kind.
func firstTable[T input](l inputTables) (t T) {
	for _, c := range l {
		if t, ok := c.table.(T); ok {
			return t
		}
	}
	return t
}

// bare is a server that opens nothing.
func bare(s *settings) *server {
	return &server{settings: s, sink: new(sink.Sink), inputs: new(counters.Set), counters: new(ingest.Metrics)}
}

// tcpFields are a listener's settings after it filled in its defaults.
func tcpFields(t *testing.T, s *settings) []any {
	l, err := firstTable[*tcpTable](s.Collector.Inputs).listener(bare(s))
	if err != nil {
		t.Fatal(err)
	}
	l.Shutdown(context.Background()) // fills in the defaults
	p := firstTable[*tcpTable](s.Collector.Inputs).lines(bare(s))
	p.Format() // fills in the defaults
	return []any{p.Source, l.MaxConns, l.MaxConnsPerIP, p.MaxLine, l.HandshakeTimeout, l.FrameTimeout, l.IdleTimeout}
}

func natsFields(s *settings, t *natsTable) []any {
	l := t.listener(bare(s))
	l.Shutdown(context.Background()) // fills in the defaults
	return []any{l.Agents.Subjects, l.Plain.Subjects, l.Plain.Queue, l.Stream, l.Plain.Host, l.Plain.MaxLine, l.Plain.Pending,
		l.Refusals.Keep, t.Insecure, t.Tail}
}

func redisFields(s *settings, t *redisTable) []any {
	in := t.input(bare(s), new(redisconn.Client))
	in.Shutdown(context.Background()) // fills in the defaults
	return []any{in.Channels.Pending, in.Streams, in.Lists, in.Lines, in.Client.MaxBulk, t.Insecure}
}

func zmqFields(s *settings, t *zmqTable) []any {
	x := t.input(bare(s), zmtp.Pull, new(zmqEndpoints))
	x.Shutdown(context.Background()) // fills in the defaults
	return []any{x.Lines, x.Sub, config.Or(t.MaxConns, zmtp.DefaultMaxConns), t.Insecure}
}

func gelfFields(s *settings, t *gelfTable) []any {
	l, err := t.connections(bare(s))
	if err != nil {
		return []any{err}
	}
	d := t.datagrams(bare(s))
	p, h := t.protocol(bare(s)), t.handler(bare(s))
	p.Format() // these fill in the defaults
	h.Format()
	l.Shutdown(context.Background())
	d.Shutdown(context.Background())
	messages := p.Settings
	messages.Metrics, l.MaxRate = nil, 0 // off is not the same as nothing
	return []any{t.udp(), t.tcp(), messages, h.MaxIncomplete, l.Limits, d.ReadBuffer, d.QueueBytes, t.Insecure}
}

func udpFields(s *settings) []any {
	l := firstTable[*udpTable](s.Collector.Inputs).listener(bare(s))
	l.Shutdown(context.Background()) // fills in the defaults
	p := firstTable[*udpTable](s.Collector.Inputs).lines(bare(s))
	p.Format() // fills in the defaults
	return []any{p.Source, l.ReadBuffer, l.QueueBytes, p.MaxLine}
}

func watchers(s *settings) [2]int {
	h := s.Collector.HTTP
	l := &livetail.Tail{MaxWatchers: config.OrZero(h.MaxWatchers), MaxLookbacks: config.OrZero(h.MaxLookbacks)}
	l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/tail?refused=1", nil))
	return [2]int{l.MaxWatchers, l.MaxLookbacks}
}

// webFields are the settings of the HTTP listener after it filled in its defaults.
func webFields(t *testing.T, s *settings) []any {
	h := s.Collector.HTTP
	x := newTestWeb(t, h)
	return []any{x.conns.max, x.conns.perIP, h.Control, len(h.Hosts), config.Or(h.HeaderTimeout, defaultHeaderTimeout), config.Or(h.IdleTimeout, defaultIdleTimeout)}
}

// workFields are a distributor's settings after it filled in its defaults.
func workFields(t *testing.T, s *settings) []any {
	k := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Sync: "none"}
	if err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer k.Close(t.Context())
	w, err := s.Collector.Work.settings(config.Or(s.Collector.Work.MaxWorkers, defaultWorkers), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := distribute.New(k, w)
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := d.Settings()
	return []any{f.Lease, f.Attempts, f.Retry, f.MaxWorkers, f.MaxWorkersPerIP, f.MaxGroups, f.MaxGroupsPerIP, f.MaxCredit, f.DeadLetterBytes}
}

// A key that the program knows and the example lacks is a key that no reader finds.
func TestExampleHasEveryKey(t *testing.T) {
	configtest.HasEveryKey(t, "collector", new(collectorTable))
}
