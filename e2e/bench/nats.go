package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// natsTrial is a way over NATS: a file, an agent, servers, a collector, a file.
type natsTrial struct {
	name     string
	servers  int
	stream   bool
	compress string
	sync     string
}

// natsTrials are the ways. The lines here repeat themselves more than anybody's do,
// so what compression gains is shown, but the goals are held against going without.
func natsTrials() []natsTrial {
	return []natsTrial{
		{"core", 1, false, "none", "none"},
		{"core, sync commit", 1, false, "none", "commit"},
		{"core, zstd", 1, false, "zstd", "none"},
		{"JetStream, 1 server", 1, true, "none", "none"},
		{"JetStream, 3 replicas", 3, true, "none", "none"},
		{"JetStream, 3 replicas, sync commit", 3, true, "none", "commit"},
		{"JetStream, 3 replicas, zstd", 3, true, "zstd", "none"},
	}
}

func (b *bench) natsWorkloads() (list []workload) {
	for _, t := range natsTrials() {
		list = append(list, workload{kind: "chain", name: "nats", fits: func(subject) bool { return true },
			measure: func(s subject) (sample, error) { return b.overNATS(s, t) }, subjects: []subject{{name: t.name, ours: true}}})
	}
	return list
}

// overNATS sends the lines of four files.
func (b *bench) overNATS(s subject, x natsTrial) (r sample, err error) {
	if b.natsServer == "" {
		if b.natsServer, err = rig.BuildNATS(b.dir); err != nil {
			return r, err
		}
	}
	store := filepath.Join(b.dir, "nats")
	if err := os.RemoveAll(store); err != nil {
		return r, err
	}
	defer os.RemoveAll(store)
	cluster, err := rig.NewNATS(b.natsServer, store, x.servers, "")
	if err != nil {
		return r, err
	}
	defer cluster.Kill()
	if err := cluster.Start(); err != nil {
		return r, err
	}
	table, via := fmt.Sprintf("[[collector.nats]]\nurl = %q\n", cluster.URL), ""
	if x.stream {
		table += fmt.Sprintf("stream = \"LINES\"\ncreate = true\nreplicas = %d\n", x.servers)
		via = "LINES"
	}
	s.command = withTable(b.fanin(x.sync), table)
	const files = 4
	lines := b.lines / files
	var paths []string
	for i := range files {
		path, err := b.sourceOf(i, lines)
		if err != nil {
			return r, err
		}
		paths = append(paths, fmt.Sprintf("%q", path))
	}
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	if err := ready(t); err != nil {
		return r, err
	}
	config := fmt.Sprintf("[agent]\nid = \"bench\"\nstate = \"agent\"\ncompress = %q\nto = [\"%s\"]\n[agent.nats]\nstream = %q\n[[agent.file]]\npaths = [%s]\n",
		x.compress, strings.ReplaceAll(cluster.URL, ",", "\", \""), via, strings.Join(paths, ", "))
	if err := write(t.dir, "agent.toml", config); err != nil {
		return r, err
	}
	profiled := b.profile(t, "nats-"+x.name, lines*files)
	cpu, begun := t.cpu(), time.Now()
	agent, err := start(t.dir, nil, b.agent, "--config", "agent.toml")
	if err != nil {
		return r, err
	}
	defer agent.stop()
	r.Seconds = t.landed(lines*files, newBlock(0).size(lines)*files).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	r.AgentCPU, r.AgentRSS = agent.cpu(), agent.memory("VmHWM")
	if err := agent.stop(); err != nil {
		return r, err
	}
	<-profiled
	return r, t.end(files, lines, &r)
}

func (b *bench) natsTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of("nats") {
		rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"),
			r.text((*sample).agentPerM, "%.2f") + " + " + r.text((*sample).cpuPerM, "%.2f"),
			r.text((*sample).agentPeak, "%.0f") + " / " + r.text((*sample).peak, "%.0f"), r.wrong()})
	}
	table(out, "Four files, agent, NATS, collector, file; "+million(b.lines)+" lines, each acknowledged by the collector",
		[]string{"", "M lines/s", "CPU s per M, agent + collector", "peak MiB, agent / collector", "lost / doubled / reordered / torn"}, rows)
}

// ready waits until the collector takes what comes over NATS.
func ready(t *trial) error {
	socket := filepath.Join(t.dir, "state", "control.sock")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get("http://collector/status")
		if err != nil {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && bytes.Contains(t.stderr.Bytes(), []byte("connected to the NATS")) && !bytes.Contains(b, []byte("trouble")) {
			return nil
		}
	}
	return t.failed(errors.New("the collector does not take anything over NATS"))
}
