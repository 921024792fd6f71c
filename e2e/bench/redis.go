package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// Names of the measurements with Redis.
const (
	redisIn     = "redis in"
	redisOut    = "redis out"
	redisAlways = "redis out, always"
)

// redisShare of the lines go through Redis, 1 of so many: it keeps them in memory.
const redisShare = 8

// redisWorkloads measure Redis streams in both directions, beside a client that only
// reads and beside redis-benchmark.
func (b *bench) redisWorkloads() (list []workload) {
	for _, program := range []string{"redis-server", "redis-cli", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "Redis is left out: %v\n", err)
			return nil
		}
	}
	add := func(name string, measure func(*redis, subject) (sample, error), args []string, subjects ...subject) {
		list = append(list, workload{kind: "tcp", name: name, fits: func(subject) bool { return true },
			measure: func(s subject) (sample, error) { return b.withRedis(s, args, measure) }, subjects: subjects})
	}
	none := subject{name: "fanin-none", ours: true, command: b.fanin("none")}
	commit := subject{name: "fanin-commit", ours: true, command: b.fanin("commit")}
	benchmark := subject{name: "redis-benchmark"}
	add(redisIn, b.fromRedis, nil, none, commit, subject{name: "xread"})
	add(redisOut, b.toRedis, nil, none, commit, benchmark, subject{name: "rsyslog omhiredis", agent: b.omhiredis})
	add(redisAlways, b.toRedis, []string{"--appendonly", "yes", "--appendfsync", "always"}, none, commit, benchmark)
	return withoutRsyslog(list)
}

// redis is a server under measurement, or beside one.
type redis struct {
	*process
	port int
}

// withRedis gives a trial a server of its own.
func (b *bench) withRedis(s subject, args []string, measure func(*redis, subject) (sample, error)) (r sample, err error) {
	dir := filepath.Join(b.dir, "redis")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	p, err := start(dir, nil, append([]string{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", ""}, args...)...)
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := p.listening("tcp", port); err != nil {
		return r, err
	}
	return measure(&redis{p, port}, s)
}

func (r *redis) url() string { return "redis://" + address(r.port) + "/0" }

// fromRedis reads a stream that is complete before it gets the name that is read.
func (b *bench) fromRedis(server *redis, s subject) (r sample, err error) {
	lines := b.lines / redisShare
	if err := addLines(address(server.port), "loaded", lines); err != nil {
		return r, err
	}
	if !s.ours {
		h, err := prepare("redis-read", address(server.port), lines)
		if err != nil {
			return r, err
		}
		if err := renameLoaded(server); err != nil {
			return r, err
		}
		begun := time.Now()
		if err := errors.Join(h.begin(), h.ready()); err != nil {
			return r, err
		}
		r.Seconds, r.Lines = time.Since(begun).Seconds(), lines
		err = errors.Join(h.begin(), h.cmd.Wait())
		r.CPU = h.cpuTime()
		return r, err
	}
	s.command = withTable(s.command, fmt.Sprintf("[[collector.redis]]\nurl = %q\nstreams = [\"lines\"]\n", server.url()))
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	if err := t.receives(); err != nil {
		return r, err
	}
	profiled := b.profile(t, redisIn, lines)
	cpu, begun := t.cpu(), time.Now()
	if err := renameLoaded(server); err != nil {
		return r, err
	}
	r.Seconds = t.landed(lines, newBlock(0).size(lines)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	<-profiled
	return r, t.end(1, lines, &r)
}

func renameLoaded(server *redis) error {
	return command(".", "redis-cli", "-p", strconv.Itoa(server.port), "rename", "loaded", "lines")
}

// receives waits until the collector says that it receives from Redis.
func (t *trial) receives() error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(t.stderr.String(), "receiving from Redis") {
			return nil
		}
	}
	return t.failed(errors.New("the collector receives nothing from Redis"))
}

// toRedis sends lines into a collector, and waits until Redis has all of them.
func (b *bench) toRedis(server *redis, s subject) (r sample, err error) {
	lines := b.lines / redisShare
	length := func(command string) func(int) (*helper, error) {
		return func(lines int) (*helper, error) {
			return prepare("redis-length", address(server.port), command, lines)
		}
	}
	if s.name == "redis-benchmark" {
		return redisBenchmark(server, lines)
	}
	if !s.ours {
		return b.sentByRsyslog(s, server.port, length("LLEN"))
	}
	s.command = withTable(s.command, fmt.Sprintf("[[collector.redis]]\nurl = %q\n[collector.redis.output]\nstream = \"lines\"\nfrom = \"start\"\n", server.url()))
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	to, err := length("XLEN")(lines)
	if err != nil {
		return r, err
	}
	if r, err = b.through(t, to, lines, redisOut); err != nil {
		return r, err
	}
	c := newCounter(1, lines)
	err = readLines(address(server.port), lines, c.line)
	r.tally = c.end()
	return r, err
}

// redisPipeline is how many commands redis-benchmark has under way.
const redisPipeline = 1000

// redisBenchmark adds entries with one field of an average line.
func redisBenchmark(server *redis, lines int) (r sample, err error) {
	average := int(newBlock(0).size(lines)) / lines
	out, err := exec.Command("redis-benchmark", "-h", "127.0.0.1", "-p", strconv.Itoa(server.port), "-c", "1", "-P", strconv.Itoa(redisPipeline),
		"-n", strconv.Itoa(lines), "--csv", "XADD", "lines", "*", "message", strings.Repeat("x", average)).Output()
	if err != nil {
		return r, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) < 2 || len(rows[1]) < 2 {
		return r, fmt.Errorf("redis-benchmark says %q: %w", out, err)
	}
	speed, err := strconv.ParseFloat(rows[1][1], 64)
	r.Lines, r.Seconds = lines, float64(lines)/speed
	return r, err
}

// omhiredis sends a file's lines into a list with rsyslog's module.
func (b *bench) omhiredis(dir, file string, port int) (args, env []string, err error) {
	return rsyslogSender(dir, file, `module(load="omhiredis")
ruleset(name="out") { action(type="omhiredis" server="127.0.0.1" serverport="%d" mode="queue" key="lines" userpush="on" template="line") }
`, port)
}

// redisTable has what goes through Redis.
func (b *bench) redisTable(out *strings.Builder) {
	lines := million(b.lines/redisShare) + " lines"
	ways := []struct{ workload, title, other string }{
		{redisIn, "Redis stream to file, " + lines + " (xread: a client that reads them and does nothing)", "xread"},
		{redisOut, "File to Redis stream, no AOF, " + lines + " (redis-benchmark: XADD with one field, 1,000 under way; rsyslog: to a list)", "redis-benchmark"},
		{redisAlways, "File to Redis stream, appendfsync always, " + lines, "redis-benchmark"},
	}
	for _, w := range ways {
		var rows [][]string
		for _, r := range b.results.of(w.workload) {
			rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.3f"), b.ratio(r, w.other, (*sample).speed),
				r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f"), r.wrong()})
		}
		table(out, w.title, []string{"", "M lines/s", "x " + w.other, "CPU s per M", "peak MiB", "lost / doubled / reordered / torn"}, rows)
	}
}
