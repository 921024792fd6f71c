package collector

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink/livetail"
)

// tailer is the command `tail`: a watcher of the live tail.
type tailer struct {
	o                              *options
	connect, since, from, output   string
	color, highlight               string
	host, source, include, exclude []string
	n                              int
	noFollow                       bool
	lag                            int64
	tls                            certs.Files
	client                         *http.Client
	socket                         string
	base                           string
	out                            *painter
	log, last                      string // the log's id, and the last event's
	stderr                         io.Writer
}

func (o *options) tailCommand() *cobra.Command {
	t := &tailer{o: o, lag: -1}
	c := o.command("tail", "show lines as they are committed, chosen by host, source and what is in them", func(_ context.Context, c *cobra.Command) error {
		t.stderr = c.ErrOrStderr()
		return t.run(daemon.Terminated(), c.OutOrStdout())
	})
	f := c.Flags()
	f.StringVar(&t.connect, "connect", "", "the collector's HTTP `URL`, such as http://collector:6790 (default: the control socket of --out or --config)")
	f.IntVarP(&t.n, "lines", "n", 10, "begin with the last `N` lines that match")
	f.StringVar(&t.since, "since", "", "begin with lines of this `time` or time span ago (10m, 2d)")
	f.StringVar(&t.from, "from", "", "begin at this `place`: start, end, a time, a position")
	f.StringArrayVar(&t.host, "host", nil, "only lines of this `host`; * and ? stand for anything; may be repeated")
	f.StringArrayVar(&t.source, "source", nil, "only lines of this `source`; likewise")
	f.StringArrayVarP(&t.include, "include", "i", nil, "only lines that match this `expression` (RE2); all of them, if repeated")
	f.StringArrayVarP(&t.exclude, "exclude", "e", nil, "no lines that match this `expression`")
	f.StringVarP(&t.highlight, "highlight", "H", "", "paint what matches this `expression`")
	f.StringVarP(&t.output, "output", "o", "default", "default: lines as in the file; raw: without time, host and source; json")
	f.BoolVar(&t.noFollow, "no-follow", false, "end at the end of the log")
	config.BytesVar(f, &t.lag, "lag", -1, "skip lines when more than this many `bytes` behind, such as 64MiB; 0: never (default 256MiB)")
	f.StringVar(&t.color, "color", "auto", "auto: on a terminal, unless NO_COLOR is set; always; never")
	f.StringVar(&t.tls.CA, "ca", "", "with https: the authority's certificate `file`")
	f.StringVar(&t.tls.Cert, "cert", "", "with https: the certificate `file` to show")
	f.StringVar(&t.tls.Key, "key", "", "with https: its key `file`")
	return c
}

func (t *tailer) run(ctx context.Context, stdout io.Writer) error {
	if err := t.prepare(stdout); err != nil {
		return err
	}
	first := true
	for wait := time.Duration(0); ; {
		ended, err := t.watch(ctx)
		if ended || ctx.Err() != nil {
			return t.out.flush()
		}
		var exit *daemon.Exit
		if errors.As(err, &exit) && (first || exit.Code != daemon.ExitUnreachable) {
			return err
		}
		if t.last != "" || !errors.As(err, &exit) {
			first = false
		}
		wait = min(max(2*wait, 200*time.Millisecond), 5*time.Second)
		escape.Fprintf(t.stderr, "the collector is gone (%v); trying again, and going on behind %s\n", err, cmp.Or(t.last, "the end"))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *tailer) prepare(stdout io.Writer) (err error) {
	if t.out, err = newPainter(stdout, t.color, t.highlight); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "%w", err)
	}
	switch t.output {
	case "json":
		t.out.json = true
	case "default", "raw":
	default:
		return daemon.Exitf(daemon.ExitUsage, "--output %q: want default, raw or json", t.output)
	}
	transport := &http.Transport{}
	t.client, t.base = &http.Client{Transport: transport}, t.connect
	if t.connect != "" {
		u, err := url.Parse(t.connect)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return daemon.Exitf(daemon.ExitUsage, "--connect %q: want a URL such as http://collector:6790", t.connect)
		}
		if u.Scheme == "https" {
			make, err := t.tls.Client()
			if err != nil {
				return daemon.Exitf(daemon.ExitConfig, "%w", err)
			}
			transport.TLSClientConfig = make()
		}
		return nil
	}
	_, state, err := t.o.log()
	if err != nil {
		return err
	}
	socket := filepath.Join(state, controlName)
	t.socket = socket
	t.base = "http://collector"
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return nil
}

func (t *tailer) query() url.Values {
	q := url.Values{"host": t.host, "source": t.source, "include": t.include, "exclude": t.exclude}
	switch {
	case t.since != "":
		q.Set("since", t.since)
	case t.from != "":
		q.Set("from", t.from)
	case t.n > 0:
		q.Set("n", strconv.Itoa(t.n))
	}
	if t.noFollow {
		q.Set("follow", "0")
	}
	if t.lag >= 0 {
		q.Set("lag", strconv.FormatInt(t.lag, 10))
	}
	q.Set("format", map[string]string{"default": "line", "raw": "body", "json": "json"}[t.output])
	return q
}

// watch is one connection; ended tells that there will be no more lines.
func (t *tailer) watch(ctx context.Context) (ended bool, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", t.base+"/tail?"+t.query().Encode(), nil)
	if err != nil {
		return false, err
	}
	if t.last != "" {
		r.Header.Set("Last-Event-ID", t.last)
	}
	resp, err := t.client.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, daemon.Exitf(daemon.ExitUnreachable, "%w at %s", errNotRunning, cmp.Or(t.connect, t.socket))
	}
	if err != nil {
		return false, daemon.Exitf(daemon.ExitUnreachable, "%w", t.tls.ExplainClient(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		code := map[int]int{http.StatusBadRequest: daemon.ExitUsage, http.StatusServiceUnavailable: daemon.ExitLater}[resp.StatusCode]
		return false, daemon.Exitf(max(code, daemon.ExitFailure), "the collector says: %s", escape.Lines(string(bytes.TrimSpace(text))))
	}
	if id := resp.Header.Get("Fanin-Log"); t.log != "" && id != t.log {
		return false, daemon.Exitf(daemon.ExitFailure, "this is another log by now: %s, and it was %s; position %s means nothing in it", escape.String(id), escape.String(t.log), escape.String(t.last))
	} else {
		t.log = id
	}
	t.out.format = resp.Header.Get("Fanin-Format")
	if t.output != "default" {
		t.out.format = "raw"
	}
	return t.events(bufio.NewReaderSize(resp.Body, 64<<10))
}

// events prints what the collector sends, until that ends.
func (t *tailer) events(r *bufio.Reader) (ended bool, err error) {
	var kind, id string
	var data []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			t.out.flush()
			return false, fmt.Errorf("the connection ended: %w", err)
		}
		line = line[:len(line)-1]
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch {
		case len(line) == 0:
			if ended, err := t.event(kind, data); ended || err != nil {
				return ended, err
			}
			t.last = cmp.Or(id, t.last)
			kind, data = "", nil
			if r.Buffered() == 0 {
				if err := t.out.flush(); err != nil {
					return true, err
				}
			}
		case string(field) == "event":
			kind = string(value)
		case string(field) == "id":
			id = string(value)
		case string(field) == "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
			if data == nil {
				data = []byte{}
			}
		}
	}
}

func (t *tailer) event(kind string, data []byte) (ended bool, err error) {
	switch {
	case kind == "end":
		return true, nil
	case kind == "skipped":
		var s livetail.Skipped
		if err := json.Unmarshal(data, &s); err != nil {
			return false, fmt.Errorf("the collector sent %q: %w", data, err)
		}
		t.out.flush()
		if s.Exact {
			escape.Fprintf(t.stderr, "skipped %d lines: too slow by far; --from %s shows what is still there\n", s.Lines, s.From)
		} else {
			escape.Fprintf(t.stderr, "skipped the lines from %s to %s: they are no longer there\n", s.From, s.To)
		}
	case data != nil:
		return false, t.out.line(data)
	}
	return false, nil
}

// painter prints lines, in colours on a terminal.
type painter struct {
	w         *bufio.Writer
	color     bool
	safe      bool // nothing may reach the terminal but text
	json      bool // lines are JSON
	highlight *regexp.Regexp
	format    string
}

func newPainter(stdout io.Writer, color, highlight string) (*painter, error) {
	p := &painter{w: bufio.NewWriterSize(stdout, 64<<10)}
	if f, ok := stdout.(*os.File); ok {
		fi, err := f.Stat()
		p.safe = err == nil && fi.Mode()&fs.ModeCharDevice != 0
	}
	switch color {
	case "always":
		p.color = true
	case "auto":
		p.color = p.safe && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	case "never":
	default:
		return nil, fmt.Errorf("--color %q: want auto, always or never", color)
	}
	if highlight != "" {
		re, err := regexp.Compile(highlight)
		if err != nil {
			return nil, fmt.Errorf("--highlight: %w", err)
		}
		p.highlight = re
	}
	return p, nil
}

func (p *painter) flush() error { return p.w.Flush() }

func (p *painter) line(line []byte) error {
	switch {
	case p.safe && p.json:
		line = escape.Document(line)
	case p.safe:
		line = escape.Line(nil, line)
	}
	if p.color {
		line = p.paint(line)
	}
	p.w.Write(line)
	return p.w.WriteByte('\n')
}

// paint colours the host of a syslog line, each its own, and what is to be
// highlighted.
func (p *painter) paint(line []byte) []byte {
	var head []byte
	if stamp, rest, ok := bytes.Cut(line, []byte{' '}); ok && p.format == "syslog" {
		if host, rest, ok := bytes.Cut(rest, []byte{' '}); ok {
			head = fmt.Appendf(nil, "\x1b[2m%s\x1b[0m \x1b[%dm%s\x1b[0m ", stamp, hostColor(host), host)
			line = rest
		}
	}
	if p.highlight != nil {
		line = p.highlight.ReplaceAllFunc(line, func(b []byte) []byte {
			if len(b) == 0 {
				return b
			}
			return fmt.Appendf(nil, "\x1b[1;7m%s\x1b[0m", b)
		})
	}
	return append(head, line...)
}

// hostColor is one of the terminal's colours that can be read on black and white.
func hostColor(host []byte) int {
	colors := [...]int{31, 32, 33, 34, 35, 36, 91, 92, 94, 95, 96}
	sum := 0
	for _, c := range host {
		sum = sum*31 + int(c)
	}
	return colors[uint(sum)%uint(len(colors))]
}
