package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fanin/e2e/rig"
)

// Names of the measurements of what an operator waits for.
const (
	verifyPlain    = "verify"
	verifyArchives = "verify archives"
	catPlain       = "cat"
	startAgain     = "start after kill -9"
	compressing    = "intake while files are compressed"
)

// The subjects of these.
const (
	ourVerify  = "fanin-collector verify"
	ourCat     = "fanin-collector cat"
	oneReader  = "klauspost/gzip, one reader"
	gzipFiles  = "gzip"
	plainFiles = "as they are"
)

// startStreams is how many streams the log has that starts after a kill -9.
const startStreams = 100_000

// waitsWorkloads measure what an operator waits for.
func (b *bench) waitsWorkloads() (list []workload) {
	add := func(name string, measure func(subject) (sample, error), subjects ...string) {
		w := workload{kind: "waits", name: name, fits: func(subject) bool { return true }, measure: measure}
		for _, s := range subjects {
			w.subjects = append(w.subjects, subject{name: s, ours: true, command: b.fanin("none")})
		}
		list = append(list, w)
	}
	add(verifyPlain, func(s subject) (sample, error) { return b.readKept(s, false) }, ourVerify)
	add(catPlain, func(s subject) (sample, error) { return b.readKept(s, false) }, ourCat)
	add(verifyArchives, func(s subject) (sample, error) { return b.readKept(s, true) }, ourVerify, oneReader)
	add(startAgain, b.startAfterKill, "fanin-commit")
	add(compressing, b.whileCompressing, plainFiles, gzipFiles)
	return list
}

// readKept reads a log that is there: fanin verifies it or prints it to /dev/null, the others only decompress it.
func (b *bench) readKept(s subject, archives bool) (r sample, err error) {
	dir, size, err := b.keptLog(archives)
	if err != nil {
		return r, err
	}
	c := exec.Command(b.collector, strings.TrimPrefix(s.name, "fanin-collector "), "--config", "collector.toml")
	if s.name == oneReader {
		self, err := os.Executable()
		if err != nil {
			return r, err
		}
		c = exec.Command(self, "-role", "read", ".")
	}
	c.Dir = dir
	if err := cachedAll(filepath.Join(dir, "all*.log*")); err != nil {
		return r, err
	}
	var words bytes.Buffer
	c.Stderr = &words
	begun := time.Now()
	if err := c.Run(); err != nil {
		return r, fmt.Errorf("%s: %w\n%s", c.Path, err, &words)
	}
	r.Seconds, r.Bytes = time.Since(begun).Seconds(), size
	r.CPU = (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.Peak = float64(usage.Maxrss) / 1024
	}
	return r, nil
}

// keptLog is the directory of a stopped collector whose log has so much text, made once in a run.
func (b *bench) keptLog(archives bool) (dir string, size int64, err error) {
	dir = filepath.Join(b.dir, "kept-plain")
	s := subject{ours: true, command: b.fanin("none")}
	if archives {
		dir, s.command = filepath.Join(b.dir, "kept-archives"), rotating(s.command)
	}
	note := filepath.Join(dir, "size")
	if text, err := os.ReadFile(note); err == nil {
		size, err := strconv.ParseInt(string(text), 10, 64)
		return dir, size, err
	}
	t, err := b.begin(s, 1)
	if err != nil {
		return "", 0, err
	}
	defer t.stop()
	if size, err = b.fill(t, archives); err != nil {
		return "", 0, err
	}
	if err := errors.Join(t.stop(), os.RemoveAll(dir), os.Rename(t.dir, dir)); err != nil {
		return "", 0, err
	}
	return dir, size, os.WriteFile(note, strconv.AppendInt(nil, size, 10), 0o640)
}

// fill sends what a log needs to have searchBytes of text, and returns how much it has.
func (b *bench) fill(t *trial, archives bool) (size int64, err error) {
	size = searchBytes
	if b.quick {
		size /= 4
	}
	first := newBlock(0)
	lines := int(size / (int64(len(first.text))/int64(len(first.ends)) + 45) / 8 * 8)
	if err := errors.Join(sendNow("story", t.port, lines), t.written(lines)); err != nil {
		return 0, err
	}
	if !archives {
		fi, err := os.Stat(t.log)
		if err != nil {
			return 0, err
		}
		return fi.Size(), nil
	}
	socket := filepath.Join(t.dir, "state", "control.sock")
	if _, err := control(socket).Post("http://collector/rotate", "", nil); err != nil {
		return 0, err
	}
	size, _, err = t.compressed(socket)
	return size, err
}

// noneWritten is how long nothing may be written until nothing more is expected. A busy machine may not get to
// 10,000 connections for long.
const noneWritten = time.Minute

// written waits until the collector has written so many lines of TCP connections.
func (t *trial) written(lines int) error {
	before, last := -1, time.Now()
	for ; ; time.Sleep(10 * time.Millisecond) {
		n, err := t.metric(`fanin_written_lines_total{input="tcp"} `)
		switch {
		case err != nil:
			return err
		case n == lines:
			return nil
		case n > lines:
			return fmt.Errorf("%d lines were written, and %d sent", n, lines)
		case n > before:
			before, last = n, time.Now()
		case time.Since(last) > noneWritten:
			return fmt.Errorf("%d lines were written of %d, and no more come", n, lines)
		}
	}
}

// metric is the value of a line of the metrics, which begins like this.
func (t *trial) metric(begins string) (int, error) {
	metrics, err := t.ask("/metrics")
	for line := range strings.Lines(string(metrics)) {
		if value, ok := strings.CutPrefix(line, begins); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(n), err
		}
	}
	return 0, err
}

// startAfterKill starts a collector whose log has many streams and a write-ahead log that is full, of
// which nothing is in a checkpoint. It was killed. Seconds is until it listens.
func (b *bench) startAfterKill(subject) (r sample, err error) {
	dir := filepath.Join(b.dir, "trial")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	killed := exec.Command(self, "-role", "fill-ring", dir, strconv.Itoa(startStreams))
	killed.Stderr = os.Stderr
	var exit *exec.ExitError
	if err := killed.Run(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		return r, fmt.Errorf("fill-ring was to be killed: %v", err)
	}
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	args, env, err := b.fanin("commit")(dir, port, 1)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	p, err := start(dir, env, args...)
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := p.listening("tcp", port); err != nil {
		return r, err
	}
	r.Seconds, r.CPU, r.Peak = time.Since(begun).Seconds(), p.cpu(), p.memory("VmHWM")
	if err := p.stop(); err != nil {
		return r, err
	}
	return r, command(dir, args[0], append([]string{"verify"}, args[1:]...)...)
}

// whileCompressing sends lines over 8 connections while rotated files are compressed, or are not.
func (b *bench) whileCompressing(s subject) (r sample, err error) {
	compress := "none"
	if s.name == gzipFiles {
		compress = "gzip"
	}
	s.command = adjusted(s.command, `rotate_size = "off"`, fmt.Sprintf("rotate_size = \"64MiB\"\ncompress = %q", compress))
	return b.counted(s, 8, b.lines, "story")
}

// counted sends lines over connections and waits until the collector counts them as written. Its log is
// held against its ledger afterwards.
func (b *bench) counted(s subject, conns, lines int, text string) (r sample, err error) {
	t, err := b.begin(s, conns)
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(t.dir)
	defer t.stop()
	h, err := prepare("send-many", address(t.port), conns, lines, text)
	if err != nil {
		return r, err
	}
	cpu, begun := t.cpu(), time.Now()
	if err := h.begin(); err != nil {
		return r, err
	}
	if err := t.written(lines); err != nil {
		return r, t.failed(err)
	}
	r.Seconds, r.Lines = time.Since(begun).Seconds(), lines
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := h.end(); err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	if err := t.stop(); err != nil {
		return r, t.failed(err)
	}
	return r, t.verify()
}

// waitsTable has what an operator waits for.
func (b *bench) waitsTable(out *strings.Builder) {
	var rows [][]string
	for _, name := range []string{verifyPlain, catPlain, verifyArchives} {
		for _, r := range b.results.of(name) {
			rows = append(rows, []string{name, r.subject, r.text((*sample).rate, "%.0f"), r.text((*sample).ratePerCPU, "%.0f"),
				r.text((*sample).peak, "%.0f")})
		}
	}
	table(out, "The whole log read again", []string{"", "", "MB of text/s", "MB per CPU s", "peak MiB"}, rows)
	rows = nil
	for _, r := range b.results.of(startAgain) {
		rows = append(rows, []string{r.subject, r.text((*sample).seconds, "%.2f"), r.text((*sample).cpu, "%.2f"), r.text((*sample).peak, "%.0f")})
	}
	table(out, "Start after kill -9, 100,000 streams and a full write-ahead log, until it listens",
		[]string{"", "s", "CPU s", "peak MiB"}, rows)
	rows = nil
	for _, r := range b.results.of(compressing) {
		rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"), b.ratio(r, plainFiles, (*sample).speed), r.text((*sample).cpuPerM, "%.2f")})
	}
	table(out, "Plain TCP, 8 connections, while files of 64 MiB are rotated and compressed",
		[]string{"rotated files", "M lines/s", "x as they are", "CPU s per M"}, rows)
}
