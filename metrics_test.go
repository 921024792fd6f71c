package fanin_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanin/internal/natstest"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

var metricsTable = regexp.MustCompile(`(?s)(<!-- table: [^\n]* -->\n)(.*)(<!-- /table -->)`)

// The table in docs/metrics.md lists the metrics of a running collector.
func TestMetricsDocument(t *testing.T) {
	want := describe(scrape(t, startWhole(t)))
	const path = "docs/metrics.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := metricsTable.FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s has no place for the table", path)
	}
	if *update {
		text := metricsTable.ReplaceAll(b, slices.Concat(m[1], []byte(want), m[3]))
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := string(m[2]); got != want {
		t.Errorf("%s differs from the metrics of a collector; remedy: go test -run TestMetricsDocument . -update\n%s", path, difference(got, want))
	}
	ofCollector, _, _ := strings.Cut(string(b), "\n## The agent\n") // the agent's have a test of their own
	for _, name := range regexp.MustCompile(`\bfanin_\w+`).FindAllString(ofCollector, -1) {
		if !strings.Contains(want, "`"+name+"`") {
			t.Errorf("%s names %s, which is no metric", path, name)
		}
	}
}

// startWhole starts a collector with every kind of table, an authority and a group of workers, and
// returns its directory, which has collector.toml and the directory state.
func startWhole(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	config := filepath.Join(dir, "collector.toml")
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n[[collector.unix]]\npath = %q\n"+
		"[[collector.nats]]\nurl = %q\ntail = \"fanin.tail\"\n[collector.nats.work]\nstream = \"WORK\"\ngroup = \"g\"\ncreate = true\n"+
		"[[collector.relp]]\nlisten = \"127.0.0.1:0\"\n"+
		"[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\nchannels = [\"c\"]\nstreams = [\"s\"]\nlists = [\"l\"]\n"+
		"[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\n[collector.redis.output]\nchannel = \"fanin.{source}\"\n"+
		"[[collector.zmq]]\npull = \"tcp://127.0.0.1:0\"\nsub = {bind = [\"tcp://127.0.0.1:0\"]}\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:0\"\ngroup = \"g\"\n"+
		"[collector.zmq.status]\nrep = \"tcp://127.0.0.1:0\"\n[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://127.0.0.1:0\"\n"+
		"[[collector.gelf]]\nlisten = \"127.0.0.1:0\"\nnetwork = \"both\"\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\nrelay_names = [\"edge\"]\n[collector.relay]\nto = [\"tcp://127.0.0.1:1\"]\n"+
		"[collector.archive]\nto = \"file:///nowhere\"\n",
		filepath.Join(dir, "state"), filepath.Join(dir, "all.log"), filepath.Join(dir, "log.sock"), natstest.New(t).ClientURL())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(programDir(t), "fanin-collector")
	if out, err := exec.Command(program, "pki", "init", "--config", config, "--name", "127.0.0.1", "--listen", "127.0.0.1:0", "--user", u.Username, "--no-service").CombinedOutput(); err != nil {
		t.Fatalf("pki init: %v\n%s", err, out)
	}
	c := start(t, exec.Command(program, "--config", config, "--work", "127.0.0.1:0", "--http", "127.0.0.1:0"))
	address := strings.TrimPrefix(c.wait("^listening work .*"), "listening work ")
	c.wait("^writing")
	joinGroup(t, address)
	return dir
}

// joinGroup makes a group, which has metrics of its own.
func joinGroup(t *testing.T, address string) {
	t.Helper()
	joined := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	w := worker.Worker{Address: address, Options: protocol.Hello{Group: "g"}, Welcomed: func(protocol.Welcome) { close(joined) },
		Handle: func(context.Context, *worker.Delivery) error { return nil }}
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }() // ends with the context
	<-joined
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// difference lists the lines that only one of two texts has.
func difference(got, want string) string {
	var b strings.Builder
	for _, side := range []struct{ mark, of, not string }{{"only in the document: ", got, want}, {"only in the collector: ", want, got}} {
		for line := range strings.Lines(side.of) {
			if !strings.Contains(side.not, line) {
				b.WriteString(side.mark + line)
			}
		}
	}
	return b.String()
}

// metric is a metric in the text format.
type metric struct {
	kind, help string
	labels     map[string]map[string]bool // name -> values
}

// scrape requests the metrics of a collector over its control socket.
func scrape(t *testing.T, dir string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "state", "control.sock"))
	}}}
	return get(t, client, "http://collector/metrics")
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}

// metricsOf reads metrics in the text format.
func metricsOf(text string) map[string]*metric {
	all := make(map[string]*metric)
	for line := range strings.Lines(text) {
		note(all, strings.TrimSuffix(line, "\n"))
	}
	return all
}

// describe makes a table of metrics.
func describe(text string) string {
	all := metricsOf(text)
	var b strings.Builder
	b.WriteString("| name | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		var labels []string
		for _, label := range slices.Sorted(maps.Keys(m.labels)) {
			values := strings.Join(slices.Sorted(maps.Keys(m.labels[label])), ", ")
			if name == "fanin_build_info" || label == "group" {
				values = "..."
			}
			labels = append(labels, fmt.Sprintf("%s: %s", label, values))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, m.kind, cmp.Or(strings.Join(labels, "; "), " "), m.help)
	}
	return b.String()
}

var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) (fanin_\w+) (.*)$`)
	sample  = regexp.MustCompile(`^(fanin_\w+)\{(.*)\} `)
	label   = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// note takes one line of the text format.
func note(all map[string]*metric, line string) {
	if m := comment.FindStringSubmatch(line); m != nil {
		if all[m[2]] == nil {
			all[m[2]] = &metric{labels: make(map[string]map[string]bool)}
		}
		if m[1] == "HELP" {
			all[m[2]].help = m[3]
		} else {
			all[m[2]].kind = m[3]
		}
		return
	}
	s := sample.FindStringSubmatch(line)
	if s == nil || all[s[1]] == nil { // a histogram's parts have other names
		return
	}
	for _, l := range label.FindAllStringSubmatch(s[2], -1) {
		values := all[s[1]].labels
		if values[l[1]] == nil {
			values[l[1]] = make(map[string]bool)
		}
		values[l[1]][l[2]] = true
	}
}
