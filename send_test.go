package fanin_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
)

// TestSendKilled: send is killed at random moments while it sends plain files and archives,
// and repeated, with its state or without it. In the end the log has every line once, in the
// order of its file. FANIN_SEND_KILLS is the number of rounds.
func TestSendKilled(t *testing.T) {
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("FANIN_SEND_KILLS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "all.log")
	config := filepath.Join(dir, "collector.toml")
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\nformat = \"raw\"\nrotate_size = \"8GiB\"\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n",
		filepath.Join(dir, "state"), log)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, exec.Command(filepath.Join(programDir(t), "fanin-collector"), "--config", config))
	address := strings.TrimPrefix(c.wait("^listening tcp .*"), "listening tcp ")
	x := &sendTrial{T: t, dir: dir, log: log, args: []string{"send", "--to", address, "--id", "trial"}}
	for round := range rounds {
		x.round(round)
	}
	t.Logf("%d rounds; %d of %d sends were killed before they ended", rounds, x.killed, x.sends)
	if x.killed < rounds/2 {
		t.Errorf("only %d sends were killed", x.killed)
	}
}

// sendTrial counts what send did.
type sendTrial struct {
	*testing.T
	dir, log      string
	args          []string
	read          int64 // how much of the log was checked
	killed, sends int
}

const (
	sendFiles = 3
	sendLines = 20000 // of each file
)

// round sends new files until all is committed.
func (x *sendTrial) round(round int) {
	dir := filepath.Join(x.dir, fmt.Sprint(round))
	state := filepath.Join(x.dir, fmt.Sprint("agent-", round))
	if err := os.Mkdir(dir, 0o700); err != nil {
		x.Fatal(err)
	}
	for file, packer := range [sendFiles]string{"", "gzip", "zstd"} {
		var b bytes.Buffer
		for line := range sendLines {
			fmt.Fprintf(&b, "%d/%d/%d %x\n", round, file, line, rand.Uint64())
		}
		x.write(filepath.Join(dir, fmt.Sprint(file, ".log")), b.Bytes(), packer)
	}
	for tries := 0; ; tries++ {
		if tries > 40 {
			x.Fatalf("round %d: send does not end", round)
		}
		if round%2 == 1 && tries > 0 { // the collector alone knows what was sent
			if err := os.RemoveAll(state); err != nil {
				x.Fatal(err)
			}
		}
		after := int64(rand.IntN(sendFiles * sendLines * 20)) // of about 25 bytes a line
		if tries > 3 {
			after = math.MaxInt64
		}
		if x.send(after, append(x.args, "--state", state, dir)) {
			break
		}
	}
	x.check(round)
	if err := os.RemoveAll(dir); err != nil {
		x.Fatal(err)
	}
}

// write writes a file, which packer compresses if there is one.
func (x *sendTrial) write(path string, text []byte, packer string) {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		x.Fatal(err)
	}
	if packer == "" {
		return
	}
	c := exec.Command(packer, "-q", path)
	if packer == "zstd" {
		c.Args = append(c.Args, "--rm")
	}
	if out, err := c.CombinedOutput(); err != nil {
		x.Fatalf("%v: %s", err, out)
	}
}

// size is that of the log.
func (x *sendTrial) size() int64 {
	fi, err := os.Stat(x.log)
	if err != nil {
		x.Fatal(err)
	}
	return fi.Size()
}

// send runs send, which is killed when the log has grown by so many bytes, and reports whether it
// ended before.
func (x *sendTrial) send(after int64, args []string) (ended bool) {
	c := exec.Command(filepath.Join(programDir(x.T), "fanin-agent"), args...)
	var out bytes.Buffer
	c.Stderr = &out
	if err := c.Start(); err != nil {
		x.Fatal(err)
	}
	begun, exited := x.size(), make(chan error, 1)
	go func() { exited <- c.Wait() }() // ends with the process
	var err error
	for running := true; running; {
		select {
		case err = <-exited:
			running = false
		case <-time.After(time.Millisecond):
			if x.size()-begun >= after {
				c.Process.Kill()
			}
		}
	}
	x.sends++
	if err == nil {
		return true
	}
	if c.ProcessState.ExitCode() != -1 {
		x.Fatalf("send: %v\n%s", err, out.String())
	}
	x.killed++
	return false
}

// check reads what the log got in this round.
func (x *sendTrial) check(round int) {
	f, err := os.Open(x.log)
	if err != nil {
		x.Fatal(err)
	}
	defer f.Close()
	waittest.Until(x, "the lines in the file", func() bool { // they are acknowledged just before they are appended
		part, err := io.ReadAll(io.NewSectionReader(f, x.read, 1<<40))
		return err == nil && bytes.Count(part, []byte("\n")) >= sendFiles*sendLines
	})
	if _, err := f.Seek(x.read, 0); err != nil {
		x.Fatal(err)
	}
	var next [sendFiles]int
	for in := bufio.NewScanner(f); in.Scan(); {
		x.read += int64(len(in.Bytes())) + 1
		var of, file, line int
		var rest uint64
		if _, err := fmt.Sscanf(in.Text(), "%d/%d/%d %x", &of, &file, &line, &rest); err != nil || of != round || file >= sendFiles {
			x.Fatalf("round %d: a line %q", round, in.Text())
		}
		if line != next[file] {
			x.Fatalf("round %d: line %d of file %d follows line %d", round, line, file, next[file]-1)
		}
		next[file]++
	}
	if next != [sendFiles]int{sendLines, sendLines, sendLines} {
		x.Fatalf("round %d: the log has %d lines, want %d of each file", round, next, sendLines)
	}
}
