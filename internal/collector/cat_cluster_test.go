package collector

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/internal/cluster"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/depot"
	"fanin/sink/merge"
)

// clusterMember makes the configuration of a member, and the logs of partitions with lines, one for each second.
type clusterMember struct {
	config string
	s      *settings
	logs   map[int]*sink.Sink
}

func newClusterMember(t *testing.T, partitions ...int) *clusterMember {
	t.Helper()
	dir := t.TempDir()
	m := &clusterMember{config: filepath.Join(dir, "collector.toml"), logs: make(map[int]*sink.Sink)}
	text := fmt.Sprintf("[collector.log]\npath = %q\nsync = \"none\"\n[collector.cluster]\nurl = \"nats://127.0.0.1:1\"\nname = \"LOGS\"\npartitions = 4\n",
		filepath.Join(dir, "{partition}", "all.log"))
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if m.s, err = (&options{config: m.config}).load(); err != nil {
		t.Fatal(err)
	}
	for _, p := range partitions {
		k := m.s.ofPartition(p).sink()
		k.Host = "here"
		if err := k.Open(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { k.Close(context.Background()) })
		m.logs[p] = k
	}
	return m
}

// put writes a line of a second into the log of a partition, and returns where that ends.
func (m *clusterMember) put(t *testing.T, p, second int) string {
	t.Helper()
	k := m.logs[p]
	before := k.End()
	if err := k.Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "nats", Time: time.Date(2026, 11, 22, 17, 0, second, 0, time.UTC).UnixMicro(),
		Text: fmt.Appendf(nil, "line %d\n", second)}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the line", func() bool { return k.End() != before })
	return k.End().String()
}

// own writes the tenures of a partition beside its log.
func (m *clusterMember) own(t *testing.T, p int, list ...cluster.Tenure) {
	t.Helper()
	if err := writeJSON(filepath.Join(m.logs[p].State, tenuresName), list); err != nil {
		t.Fatal(err)
	}
}

// serve answers as a member does.
func (m *clusterMember) serve(t *testing.T) string {
	t.Helper()
	reads := &memberReads{parts: func() map[int]*server { return nil }, logs: localLogs{settings: m.s}, ended: make(map[int]*merge.Server)}
	mux := http.NewServeMux()
	mux.Handle("GET /read", reads)
	mux.Handle("GET /partitions", overHTTP(get(reads.list)))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// catOf runs the command, and returns the numbers of the lines that it prints.
func catOf(t *testing.T, args ...string) (numbers, words string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	c := Command()
	if args[0] != "tail" {
		args = append([]string{"cat"}, args...)
	}
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&errs)
	err = c.Execute()
	for line := range strings.Lines(out.String()) {
		_, n, _ := strings.Cut(strings.TrimSpace(line), "line ")
		numbers += n + " "
	}
	return strings.TrimSpace(numbers), errs.String(), err
}

// TestCatCluster: the lines of all partitions come as one, each once: of a partition that was taken over what its tenures
// say, from the logs of both members. What is nowhere is said.
func TestCatCluster(t *testing.T) {
	one, two := newClusterMember(t, 0, 2), newClusterMember(t, 1, 2)
	one.put(t, 0, 1)
	two.put(t, 1, 2)
	one.put(t, 2, 3)
	taken := one.put(t, 2, 4)
	one.put(t, 2, 6) // committed, and never made known: the next owner has it
	two.put(t, 2, 6)
	two.put(t, 2, 7)
	one.put(t, 0, 8)
	first := cluster.Tenure{Epoch: 3, Owner: "aa", Log: one.logs[2].LogID().String(), From: "1:0"}
	ended, second := first, cluster.Tenure{Epoch: 9, Owner: "bb", Log: two.logs[2].LogID().String(), From: "1:0"}
	ended.To, ended.End = taken, cluster.Taken
	one.own(t, 2, first) // it was cut off and does not know
	two.own(t, 2, ended, second)
	urls := []string{one.serve(t), two.serve(t)}
	for _, x := range []struct {
		args        []string
		want, words string
	}{
		{[]string{"--config", one.config}, "1 3 4 6 8", ""}, // alone, it knows no better
		{[]string{"--config", two.config}, "2 6 7", "partition 2: the lines of epoch 3 from 1:0 on are at the collector aa"},
		{[]string{"--config", two.config, "--partition", "1"}, "2", ""},
		{[]string{"--url", urls[0], "--url", urls[1]}, "1 2 3 4 6 7 8", ""},
		{[]string{"--url", urls[1], "--url", urls[0], "--since", "2026-11-22T17:00:04Z"}, "4 6 7 8", ""},
		{[]string{"--url", urls[1], "--url", urls[0], "--until", "2026-11-22T17:00:07Z"}, "1 2 3 4 6", ""},
	} {
		numbers, words, err := catOf(t, x.args...)
		if numbers != x.want || err != nil || !strings.Contains(words, x.words) || x.words == "" && words != "" {
			t.Errorf("%q: %q, %q, %v; want %q, %q", x.args, numbers, words, err, x.want, x.words)
		}
	}
	_, words, err := catOf(t, "--url", urls[0], "--url", urls[1], "--until", "2026-11-22T17:00:06Z", "--print-position")
	position := strings.TrimSpace(strings.TrimPrefix(words, "position "))
	if err != nil || !strings.Contains(position, "2@3:"+taken) {
		t.Errorf("%q, %v", words, err)
	}
	if numbers, words, err := catOf(t, "--url", urls[0], "--url", urls[1], "--from", position); numbers != "6 7 8" || err != nil {
		t.Errorf("from %s: %q, %q, %v", position, numbers, words, err)
	}
}

// TestReadableArchived: what is not in the archive of a tenure is said, also of the one that goes on.
func TestReadableArchived(t *testing.T) {
	copied := &merge.Archived{Files: depot.Log{{Generation: 1}, {Generation: 2}}}
	for to, want := range map[string]string{"3:0": "", "4:7": "3:0", "": "3:0"} {
		found, absent, err := readable([]cluster.Tenure{{Epoch: 5, Log: "aa", From: "1:0", To: to}}, map[string]merge.Source{"aa": copied})
		got := ""
		if len(absent) > 0 {
			got = absent[0].From
		}
		if len(found) != 1 || got != want || err != nil {
			t.Errorf("to %q: found %v, absent from %q, %v; want %q", to, found, got, err, want)
		}
	}
}

// TestMemberReadsRefuses partitions that are not there.
func TestMemberReadsRefuses(t *testing.T) {
	url := newClusterMember(t, 0).serve(t)
	for p, want := range map[string]int{"": 400, "4": 400, "-1": 400, strconv.Itoa(1 << 40): 400, "1": 404, "0": 200} {
		resp, err := http.Get(url + "/read?partition=" + p)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("partition %q: %d, want %d", p, resp.StatusCode, want)
		}
	}
}

// TestTailCluster: tail shows the last lines of all partitions.
func TestTailCluster(t *testing.T) {
	m := newClusterMember(t, 0, 1)
	for second := range 20 {
		m.put(t, second%2, second)
	}
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"-n", "3"}, "17 18 19"}, {nil, "10 11 12 13 14 15 16 17 18 19"}, {[]string{"-n", "0"}, ""}, {[]string{"--from", "end"}, ""},
		{[]string{"-n", "2", "-i", "line .$"}, "8 9"}, {[]string{"--since", "2026-11-22T17:00:18Z"}, "18 19"}, {[]string{"--partition", "1", "-n", "2"}, ""},
		{[]string{"--from", "2026-11-22T17:00:17Z", "-i", "line 1[79]$"}, "17 19"}, {[]string{"--from", "start", "-i", "line [12]$"}, "1 2"},
	} {
		numbers, words, err := catOf(t, append([]string{"tail", "--config", m.config, "--no-follow"}, x.args...)...)
		if running := !strings.Contains(strings.Join(x.args, " "), "--partition"); numbers != x.want || (err == nil) != running {
			t.Errorf("%q: %q, %q, %v; want %q", x.args, numbers, words, err, x.want)
		}
	}
}

// TestDoctorPartition: what is looked at is the log of the partition that was named.
func TestDoctorPartition(t *testing.T) {
	m := newClusterMember(t, 1)
	report := func(partition string) (string, error) {
		var out bytes.Buffer
		c := Command()
		c.SetArgs([]string{"doctor", "--config", m.config, "--partition", partition})
		c.SetOut(&out)
		c.SetErr(&out)
		err := c.Execute()
		return out.String(), err
	}
	if _, err := report("4"); err == nil || !strings.Contains(err.Error(), "the partitions 0 to 3") {
		t.Errorf("a partition that is not there: %v", err)
	}
	if got, _ := report("1"); strings.Contains(got, partitionMark) {
		t.Errorf("the report has a path that is none:\n%s", got)
	}
}
