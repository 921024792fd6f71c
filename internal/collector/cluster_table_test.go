package collector

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"fanin/internal/access"
	"fanin/internal/config"
)

// Each mistake in the table of a cluster, and each table that does not go with it, is reported, with
// what to do.
func TestClusterTable(t *testing.T) {
	const log = "[collector.log]\npath = \"/var/log/fanin/{partition}/all.log\"\n"
	const table = "[collector.cluster]\nurl = \"nats://127.0.0.1:4222\"\nname = \"LOGS\"\n"
	for _, row := range []struct{ text, want string }{
		{log + table, ""},
		{log, "there is no [collector.cluster]"},
		{"[collector.log]\npath = \"all.log\"\n" + table, "it must contain {partition}"},
		{log + table + "[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n", "lines come through its stream alone"},
		{log + table + "[collector.relay]\nto = [\"tcp://127.0.0.1:1\"]\n", "a cluster does not forward its logs"},
		{log + table + "[collector.work]\nlisten = \"127.0.0.1:0\"\n", ""},
		{log + table + "work_address = \"one\"\n[collector.work]\nlisten = \"127.0.0.1:0\"\n", "want a host and a port"},
		{log + table + "partitions = 0\n", "partitions is 0"},
		{log + table + "partitions = 257\n", "partitions is 257"},
		{log + table + "takeover_after = \"500ms\"\n", "want 1s to 1h"},
		{log + "[collector.cluster]\nname = \"LOGS\"\n", "url is missing"},
		{log + "[collector.cluster]\nurl = \"nats://127.0.0.1:4222\"\n", "want the name of the cluster"},
		{log + "[collector.cluster]\nurl = \"nats://192.0.2.1:4222\"\nname = \"LOGS\"\n", "not encrypted"},
	} {
		path := filepath.Join(t.TempDir(), "collector.toml")
		if err := os.WriteFile(path, []byte(row.text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := (&options{config: path}).load()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s\n%v, want %q", row.text, err, row.want)
		}
	}
}

// A command names the log of a partition, and has the paths of that one.
func TestClusterPartition(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "collector.toml")
	text := "[collector.log]\npath = \"" + dir + "/{partition}/all.log\"\n[collector.cluster]\n" +
		"url = \"nats://127.0.0.1:4222\"\nname = \"LOGS\"\npartitions = 4\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	log, state, err := (&options{config: path, partition: "3"}).log()
	if want := filepath.Join(dir, "3", "all.log"); err != nil || log != want || state != filepath.Join(dir, ".cluster.fanin", "3") {
		t.Errorf("the log is %s, its state %s, %v", log, state, err)
	}
	for _, p := range []string{"", "4", "-1", "x"} {
		if _, _, err := (&options{config: path, partition: p}).log(); err == nil || !strings.Contains(err.Error(), "partition") {
			t.Errorf("partition %q: %v", p, err)
		}
	}
	if to, err := (&options{config: path}).target(); err != nil || !strings.HasSuffix(to.name, ".cluster.fanin/control.sock") {
		t.Errorf("without a partition, %+v is asked, %v", to, err)
	}
}

// TestClusterSpace: what may be on the disk is for the collector, and each partition has its part.
func TestClusterSpace(t *testing.T) {
	m := newClusterMember(t)
	c := &m.s.Collector
	keep := config.Size(8 << 20)
	c.Log.KeepBytes, c.Log.RotateSize = 4<<20, 1<<20
	c.Archive, c.Work = &archiveTable{Keep: &keep}, &workTable{KeepForGroups: 16 << 20}
	own := m.s.ofPartition(1).Collector // of four
	if own.Log.KeepBytes != 1<<20 || own.Log.RotateSize != 256<<10 || *own.Archive.Keep != 2<<20 || own.Work.KeepForGroups != 4<<20 {
		t.Errorf("a partition has %+v, %d and %d", own.Log, *own.Archive.Keep, own.Work.KeepForGroups)
	}
	if c.Log.KeepBytes != 4<<20 || *c.Archive.Keep != 8<<20 || c.Work.KeepForGroups != 16<<20 {
		t.Error("the collector's own settings have changed")
	}
	c.Log.KeepBytes = 0 // off
	if own := m.s.ofPartition(1).Collector; own.Log.KeepBytes != 0 || own.Log.RotateSize != 1<<20 {
		t.Errorf("without a bound, a partition has %+v", own.Log)
	}
}

// TestMemberMemory: a server of a partition does not change the limit of its process.
func TestMemberMemory(t *testing.T) {
	m := newClusterMember(t)
	before := debug.SetMemoryLimit(-1)
	if _, err := newServer(m.s.ofPartition(1), nil); err != nil {
		t.Fatal(err)
	}
	if after := debug.SetMemoryLimit(-1); after != before {
		t.Errorf("the limit was %d, and is %d", before, after)
	}
}

// TestMemberDrain: what a member is told is in its log, with the one that told it, and a second order to
// drain is no other.
func TestMemberDrain(t *testing.T) {
	var log strings.Builder
	c := &member{log: slog.New(slog.NewTextHandler(&log, nil)), moments: moments{leave: make(chan struct{})}}
	for range 2 {
		c.askToDrain(access.With(t.Context(), access.Caller{Name: "operator"}))
	}
	<-c.leave
	if !strings.Contains(log.String(), "by=operator") {
		t.Errorf("the log is %q", log.String())
	}
}
