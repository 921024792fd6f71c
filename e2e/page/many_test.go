package page

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// By hand: go test -v -run TestManyPages . -pages 1000 -batches 200
var (
	pages   = flag.Int("pages", 50, "how many pages are open in TestManyPages, besides those in the browser")
	batches = flag.Int("batches", 20, "how many times 200 lines are sent to them")
)

// opened is what a page asks for that is open: the live tail, and again and again status and histogram.
type opened struct {
	lines, skipped atomic.Int64
	err            error
	ended          chan struct{} // closed when the live tail has ended
}

// TestManyPages: many pages are open, three of them in the browser. Each sees all lines, or what it is not shown is
// said. How long the writer took for the lines, and the collector's memory, are logged.
func TestManyPages(t *testing.T) {
	c := configure(t, t.TempDir(), "")
	c.append(fmt.Sprintf("max_conns = %d\nmax_watchers = %d\n", 4**pages+100, *pages+50))
	c.start()
	browser := startBrowser(t)
	var tabs []*tab
	for range 3 {
		tabs = append(tabs, open(t, browser, c, "/", 1000, 700))
	}
	c.send(syslog("host", "app", "begin"))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * *pages}}
	all := make([]*opened, *pages)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for i := range all {
		all[i] = &opened{ended: make(chan struct{})}
		go all[i].watch(client, c) // ends with the last line
		asking.Go(func() { ask(client, c, i, stop) })
	}
	for i, p := range all {
		wait(t, fmt.Sprint("page ", i, " is connected"), func() bool { return p.lines.Load() > 0 })
	}
	took := c.sendTimed(*batches)
	c.send(syslog("host", "app", "the last one"))
	for i, p := range all {
		<-p.ended
		if n := p.lines.Load() + p.skipped.Load(); p.err != nil || n != int64(*batches*200+2) {
			t.Errorf("page %d: %d lines and %d skipped; want %d: %v", i, p.lines.Load(), p.skipped.Load(), *batches*200+2, p.err)
		}
	}
	for _, p := range tabs {
		p.until(`[...document.querySelectorAll('#list .row .b')].some(e => /the last one$/.test(e.textContent))`)
		p.clean()
	}
	close(stop)
	asking.Wait()
	slices.Sort(took)
	t.Logf("%d pages: 200 lines are in the file after %v (median), %v (worst); the collector had at most %s", *pages, took[len(took)/2], took[len(took)-1], c.peak())
}

// watch is a live tail as the page asks for it.
func (p *opened) watch(client *http.Client, c *collector) {
	defer close(p.ended)
	resp, err := client.Get("http://" + c.http + "/tail?format=json&lag=16MiB&n=500")
	if err != nil {
		p.err = err
		return
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for kind := ""; in.Scan(); {
		line := in.Text()
		switch data, ok := strings.CutPrefix(line, "data: "); {
		case line == "":
			kind = ""
		case !ok:
			kind += strings.TrimPrefix(line, "event: ")
		case strings.Contains(kind, "skipped"):
			var s struct{ Lines int64 }
			json.Unmarshal([]byte(data), &s)
			p.skipped.Add(s.Lines)
		default:
			p.lines.Add(1)
			if strings.Contains(data, `"the last one"`) {
				return
			}
		}
	}
	p.err = fmt.Errorf("the live tail ended early: %w", in.Err())
}

// ask asks for what a page asks for besides lines, about as often.
func ask(client *http.Client, c *collector, i int, stop <-chan struct{}) {
	for n := i; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(8000+n%10*400) * time.Millisecond):
		}
		for _, path := range []string{"/status", "/histogram?from=1h&top=12"}[:1+n%2] {
			if resp, err := client.Get("http://" + c.http + path); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
	}
}

// sendTimed sends batches of 200 lines, and returns how long each took into the file.
func (c *collector) sendTimed(batches int) (took []time.Duration) {
	c.t.Helper()
	send, end := c.connect()
	defer end()
	size := func() int64 {
		fi, err := os.Stat(filepath.Join(c.dir, "all.log"))
		if err != nil {
			c.t.Fatal(err)
		}
		return fi.Size()
	}
	for i := range batches {
		lines := numbered(i*200, 200)
		least := size()
		for _, l := range lines {
			least += int64(len(l) - 10)
		}
		begun := time.Now()
		send(lines...)
		wait(c.t, "the lines in the file", func() bool { return size() >= least })
		took = append(took, time.Since(begun).Round(time.Millisecond))
	}
	return took
}

// peak is the most memory that the collector had.
func (c *collector) peak() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return "unknown memory"
	}
	return strings.Join(strings.Fields(string(regexp.MustCompile(`(?m)^VmHWM:(.*)$`).FindSubmatch(b)[1])), " ")
}
