package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// TestTailMillion: watchers that begin before the first line, and after the last
// one, see a million lines over many rotations without a gap or a repeat, and
// those that ask for some of them see exactly these.
func TestTailMillion(t *testing.T) {
	const lines = 1_000_000
	dir := t.TempDir()
	c, err := rig.NewCollector(programs.Collector, dir, filepath.Join(dir, "log"), "sync = \"none\"\nrotate_size = \"8MiB\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	chosen := regexp.MustCompile(` s1 \d*77 `) // the padding has no digits
	watchers := []*onlooker{
		{name: "tail", args: []string{"--from", "start", "--lag", "0"}},
		{name: "tail -i", args: []string{"--from", "start", "--lag", "0", "-i", chosen.String()}, chosen: chosen},
		{name: "events", query: "from=start&lag=0"},
	}
	for _, w := range watchers {
		w.start(t, c, lines)
	}
	s := &load.Sender{Network: "tcp", Addr: c.Addr, Source: 1, Lines: lines}
	if err := s.Run(t.Context().Done()); err != nil {
		t.Fatal(err)
	}
	late := []*onlooker{
		{name: "tail, afterwards", args: []string{"--from", "start", "--lag", "0"}},
		{name: "events, afterwards", query: "since=1h&lag=0&include=" + "%20s1%20%5Cd%2A77%20", chosen: chosen},
	}
	for _, w := range late {
		w.start(t, c, lines)
	}
	for _, w := range append(watchers, late...) {
		select {
		case err := <-w.done:
			if err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s is not done", w.name)
		}
	}
	if st, err := c.Status(); err != nil || len(st.Generations) < 20 {
		t.Errorf("%d files, %v", len(st.Generations), err)
	}
}

// onlooker is a watcher of lines of source 1, by the command or by HTTP.
type onlooker struct {
	name   string
	args   []string
	query  string
	chosen *regexp.Regexp // nil: all lines

	done chan error
}

func (o *onlooker) start(t *testing.T, c *rig.Collector, lines int) {
	t.Helper()
	o.done = make(chan error, 1)
	if o.query == "" {
		cmd := exec.Command(c.Path, append([]string{"tail", "--out", c.Log, "--state", c.State}, o.args...)...)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the last line
			o.done <- o.look(out, "", lines)
			cmd.Process.Kill()
			cmd.Wait()
		}()
		return
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.State, "control.sock"))
	}}}
	resp, err := client.Get("http://collector/tail?" + o.query)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", o.name, resp.Status)
	}
	go func() { // ends with the last line
		o.done <- o.look(resp.Body, "data: ", lines)
		resp.Body.Close()
	}()
}

// look reads until the last line that it should see.
func (o *onlooker) look(r io.Reader, prefix string, lines int) error {
	wanted := func(seq int) bool { return o.chosen == nil || o.chosen.MatchString(fmt.Sprintf(" s1 %d ", seq)) }
	last := lines - 1
	for !wanted(last) {
		last--
	}
	next := 0
	for in := bufio.NewScanner(r); in.Scan(); {
		text, ok := strings.CutPrefix(in.Text(), prefix)
		if !ok {
			continue
		}
		_, body, _ := bytes.Cut([]byte(text), []byte(": "))
		src, seq, err := load.Parse(body)
		if err != nil || src != 1 {
			continue // the log's own
		}
		for next < seq && !wanted(next) {
			next++
		}
		if seq != next {
			return fmt.Errorf("line %d came where %d belongs", seq, next)
		}
		if next++; seq == last {
			return nil
		}
	}
	return fmt.Errorf("it ended at line %d", next)
}
