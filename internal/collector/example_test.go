package collector

import (
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/sink"
	"fanin/sink/livetail"
)

const examplePath = "../../config.example.toml"

var commented = regexp.MustCompile(`^# ([a-z_]+ = .*)$`)

// optional is the header of a table that is not there unless it is wanted.
var optional = regexp.MustCompile(`^# \[+[a-z_.]+\]+$`)

// uncomment turns "# key = value" into "key = value": of all keys, or only of
// those whose text does not call the value an example, which are the defaults.
func uncomment(t *testing.T, examples bool) string {
	t.Helper()
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	about, found := "", 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		m := commented.FindStringSubmatch(line)
		switch {
		case optional.MatchString(line) && (examples || !strings.Contains(strings.ToLower(about), "example")):
			line = line[len("# "):]
		case m != nil && (examples || !strings.Contains(strings.ToLower(about), "example")):
			line = m[1]
			found++
		case m == nil && strings.HasPrefix(line, "#"):
			about += line
		case m == nil:
			about = ""
		}
		out = append(out, line)
	}
	if found < 20 {
		t.Fatalf("found only %d commented keys", found)
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(strings.Join(out, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, path string) *settings {
	t.Helper()
	s, err := (&options{config: path}).load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExampleLoads(t *testing.T) {
	mustLoad(t, examplePath)
	path := uncomment(t, true)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// These are instead of others.
	b = regexp.MustCompile(`(?m)^(token_file|nkey_file|creds_file|queue) = .*$`).ReplaceAll(b, nil)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, path)
}

// What the example calls a default is one: with and without it, the rooms are
// set up alike.
func TestExampleDefaults(t *testing.T) {
	without, with := mustLoad(t, examplePath), mustLoad(t, uncomment(t, false))
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
	n := with.Collector.NATS[0]
	if n.agents() != new(natsTable).agents() {
		t.Errorf("agents = %q is not the default", n.agents())
	}
	got, want := natsFields(with, &n), natsFields(with, &natsTable{})
	same("nats", got, want)
	same("tcp insecure", a.TCP[0].Insecure, b.TCP[0].Insecure)
	same("udp insecure", a.UDP[0].Insecure, b.UDP[0].Insecure)
}

// tcpFields are a listener's settings after it filled in its defaults.
func tcpFields(t *testing.T, s *settings) []any {
	l, err := s.Collector.TCP[0].listener(nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Describe(make(chan *prometheus.Desc, 1000))
	return []any{l.Source, l.MaxConns, l.MaxConnsPerIP, l.MaxLine, l.HandshakeTimeout, l.FrameTimeout, l.IdleTimeout}
}

func natsFields(s *settings, t *natsTable) []any {
	l := (&server{settings: s}).natsInput(t)
	l.Describe(make(chan *prometheus.Desc, 1000))
	return []any{l.Agents, l.Subjects, l.Queue, l.Stream, l.Create, l.Replicas, l.Host, l.MaxLine, l.Pending, l.KeepRefused, t.Insecure, t.Tail}
}

func udpFields(s *settings) []any {
	u := &s.Collector.UDP[0]
	l := &ingest.UDP{Source: u.Source, ReadBuffer: int(orZero(u.ReadBuffer)), QueueBytes: int64(orZero(u.Queue)), MaxLine: int(orZero(u.MaxLine))}
	l.Describe(make(chan *prometheus.Desc, 1000))
	return []any{l.Source, l.ReadBuffer, l.QueueBytes, l.MaxLine}
}

func watchers(s *settings) [2]int {
	l := &livetail.Tail{MaxWatchers: orZero(s.Collector.HTTP.MaxWatchers), MaxLookbacks: orZero(s.Collector.HTTP.MaxLookbacks)}
	l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/tail?refused=1", nil))
	return [2]int{l.MaxWatchers, l.MaxLookbacks}
}

// webFields are the settings of the HTTP listener after it filled in its defaults.
func webFields(t *testing.T, s *settings) []any {
	h := s.Collector.HTTP
	x := newTestWeb(t, h)
	return []any{x.conns.max, x.conns.perIP, h.Control, len(h.Hosts), orElse(h.HeaderTimeout, defaultHeaderTimeout), orElse(h.IdleTimeout, defaultIdleTimeout)}
}

// workFields are a distributor's settings after it filled in its defaults.
func workFields(t *testing.T, s *settings) []any {
	k := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Sync: "none"}
	if err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer k.Close(t.Context())
	d, err := s.Collector.Work.distributor(k, orElse(s.Collector.Work.MaxWorkers, defaultWorkers), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	return []any{d.Lease, d.Attempts, d.Retry, d.MaxWorkers, d.MaxWorkersPerIP, d.MaxGroups, d.MaxGroupsPerIP, d.MaxCredit, d.DeadLetterBytes}
}

// A key that the program knows and the example does not is a key nobody finds.
func TestExampleHasEveryKey(t *testing.T) {
	var tree map[string]any
	if _, err := toml.DecodeFile(uncomment(t, true), &tree); err != nil {
		t.Fatal(err)
	}
	missing(t, "collector", tree["collector"].(map[string]any), reflect.TypeFor[collector]())
}

func missing(t *testing.T, path string, tree map[string]any, typ reflect.Type) {
	for i := range typ.NumField() {
		key := typ.Field(i).Tag.Get("toml")
		value, ok := tree[key]
		if !ok {
			t.Errorf("config.example.toml lacks %s.%s; there are %q", path, key, slices.Sorted(maps.Keys(tree)))
			continue
		}
		inner := typ.Field(i).Type
		if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		switch value := value.(type) {
		case map[string]any:
			missing(t, path+"."+key, value, inner)
		case []map[string]any:
			missing(t, path+"."+key, value[0], inner)
		}
	}
}
