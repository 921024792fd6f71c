package fanin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanin/internal/s3test"
	"fanin/internal/waittest"
	"fanin/sink/depot"
)

// archiveTrial is a collector that copies its files elsewhere, and an agent that follows a file.
type archiveTrial struct {
	t       *testing.T
	dir     string // of the machine that is lost
	source  string
	address string
	table   string   // [collector.archive]
	verify  []string // arguments of verify, on another machine
	place   depot.Place
	sent    int // lines
}

// newArchiveTrial is one with a directory, or with a bucket of a server.
func newArchiveTrial(t *testing.T, s *s3test.Server) *archiveTrial {
	x := &archiveTrial{t: t, dir: filepath.Join(t.TempDir(), "machine"), address: "127.0.0.1:" + freePort(t)}
	x.source = filepath.Join(t.TempDir(), "app.txt")
	x.place.Dir = t.TempDir()
	to := "file://" + x.place.Dir
	if s != nil {
		to = "s3://" + s3test.Bucket + "/site/1"
		x.place = depot.Place{Bucket: s3test.Bucket, Prefix: "site/1", Endpoint: s.URL()}
		x.place.AccessKeyFile, x.place.SecretKeyFile = s.Keys()
		x.table = fmt.Sprintf("endpoint = %q\naccess_key_file = %q\nsecret_key_file = %q\n", s.URL(), x.place.AccessKeyFile, x.place.SecretKeyFile)
		x.verify = []string{"--endpoint", s.URL(), "--access-key-file", x.place.AccessKeyFile, "--secret-key-file", x.place.SecretKeyFile}
	}
	x.table, x.verify = fmt.Sprintf("[collector.archive]\nto = %q\n", to)+x.table, append([]string{"verify", to}, x.verify...)
	return x
}

func (x *archiveTrial) at(name string) string { return filepath.Join(x.dir, name) }

func (x *archiveTrial) program(name string, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(programDir(x.t), name), args...)
}

// collect starts the collector.
func (x *archiveTrial) collect() *process {
	x.t.Helper()
	if err := os.MkdirAll(x.dir, 0o750); err != nil {
		x.t.Fatal(err)
	}
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\nrotate_size = \"64KiB\"\nkeep_files = 2\n[[collector.tcp]]\nlisten = %q\n%s",
		x.at("state"), x.at("all.log"), x.address, x.table)
	if err := os.WriteFile(x.at("collector.toml"), []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
	c := start(x.t, x.program("fanin-collector", "--config", x.at("collector.toml")))
	c.wait("^writing ")
	return c
}

// follow starts the agent, on another machine.
func (x *archiveTrial) follow() {
	x.write(0)
	start(x.t, x.program("fanin-agent", "--to", x.address, "--id", "a", "--state", filepath.Join(x.t.TempDir(), "agent"), x.source))
}

// write has the source grow by so many lines.
func (x *archiveTrial) write(lines int) {
	x.t.Helper()
	var b bytes.Buffer
	for range lines {
		fmt.Fprintf(&b, "line %d of many, %x\n", x.sent, rand.Uint64())
		x.sent++
	}
	f, err := os.OpenFile(x.source, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(b.Bytes())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		x.t.Fatal(err)
	}
}

// rotate closes the live file, if it has lines.
func (x *archiveTrial) rotate() {
	x.program("fanin-collector", "rotate", "--config", x.at("collector.toml")).Run()
}

// complete waits until all lines are archived.
func (x *archiveTrial) complete() {
	x.t.Helper()
	waittest.Until(x.t, "all lines to be archived", func() bool {
		x.rotate()
		out, err := x.program("fanin-collector", "status", "--json", "--config", x.at("collector.toml")).Output()
		var st struct {
			Log     struct{ Lines int }
			Archive depot.Status
		}
		return err == nil && json.Unmarshal(out, &st) == nil && st.Archive.Waiting == 0 && len(x.archived()) >= x.sent
	})
}

var archivedLine = regexp.MustCompile(`: line ([0-9]+) of many`)

// archived are the numbers of the lines that the archive has, in the order of each log, the older log first.
func (x *archiveTrial) archived() []string {
	x.t.Helper()
	d, err := depot.Open(x.place)
	if err != nil {
		x.t.Fatal(err)
	}
	files, err := d.Files(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	slices.SortStableFunc(files, func(a, b depot.Manifest) int {
		if a.Log == b.Log {
			return 0
		}
		return a.Closed.Compare(b.Closed)
	})
	var numbers []string
	for _, m := range files {
		r, err := d.Text(context.Background(), m)
		if err != nil {
			x.t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			x.t.Fatal(err)
		}
		for _, match := range archivedLine.FindAllSubmatch(text, -1) {
			numbers = append(numbers, string(match[1]))
		}
	}
	return numbers
}

// check checks that the archive has every line once and in order, and that it verifies.
func (x *archiveTrial) check() {
	x.t.Helper()
	got := x.archived()
	for i, number := range got {
		if number != fmt.Sprint(i) {
			x.t.Fatalf("line %s stands where line %d should be", number, i)
		}
	}
	if len(got) != x.sent {
		x.t.Errorf("the archive has %d lines, want %d", len(got), x.sent)
	}
	if out, err := x.program("fanin-collector", x.verify...).CombinedOutput(); err != nil || !strings.Contains(string(out), ": ok: ") {
		x.t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := x.program("fanin-collector", append([]string{"cat"}, x.verify[1:]...)...).Output()
	var printed []string
	for _, match := range archivedLine.FindAllSubmatch(out, -1) {
		printed = append(printed, string(match[1]))
	}
	if err != nil || !slices.Equal(printed, got) {
		x.t.Errorf("cat prints %d lines, want %d; %v", len(printed), len(got), err)
	}
}

// Every acknowledged line of an archived file can be read and verified when the machine is lost with its
// disk; and a new one begins with an empty disk beside it.
func TestArchiveOfLostDisk(t *testing.T) {
	x := newArchiveTrial(t, nil)
	c := x.collect()
	x.follow()
	x.write(10_000)
	x.complete()
	c.Process.Kill()
	<-c.exited
	if err := os.RemoveAll(x.dir); err != nil {
		t.Fatal(err)
	}
	x.check()
	x.collect()
	x.write(2000)
	x.complete()
	x.check()
	if out, err := x.program("fanin-collector", "verify", "--archive", "--config", x.at("collector.toml")).CombinedOutput(); err != nil {
		t.Errorf("verify --archive: %v\n%s", err, out)
	}
}

// The collector is killed at any moment of its copies: each line is archived once.
func TestArchiveKilled(t *testing.T) {
	server := s3test.New(t)
	x := newArchiveTrial(t, server)
	x.follow()
	for range 20 {
		c := x.collect()
		x.write(2000)
		more := objectsIn(server.Files()) + rand.IntN(4)
		waittest.Until(t, "more objects", func() bool {
			x.rotate()
			return objectsIn(server.Files()) >= more
		})
		c.Process.Kill()
		<-c.exited
	}
	x.collect()
	x.complete()
	x.check()
}

// objectsIn counts the files in a directory.
func objectsIn(dir string) (n int) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return nil
	})
	return n
}
