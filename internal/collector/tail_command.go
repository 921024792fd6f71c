package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/retry"
)

// tailOptions are the flags of the command `tail`.
type tailOptions struct {
	collectorURL
	lineFilter
	since, from, output string
	color, highlight    string
	n                   int
	noFollow            bool
	lag                 int64
}

// tailer is the command `tail`: a watcher of the live tail.
type tailer struct {
	tailOptions
	o         *options
	to        *target
	out       *painter
	log, last string // the log's id, and the last event's
	stderr    io.Writer
}

func (o *options) tailCommand() *cobra.Command {
	t := &tailer{o: o}
	c := o.command("tail", "show lines as they are committed, selected by host, source and content",
		func(_ context.Context, c *cobra.Command) error {
			t.stderr = c.ErrOrStderr()
			if t.ofCluster() {
				return t.cluster(daemon.Terminated(), c.OutOrStdout())
			}
			return t.run(daemon.Terminated(), c.OutOrStdout())
		})
	f := c.Flags()
	f.IntVarP(&t.n, "lines", "n", 10, "start with the last `N` lines that match")
	f.StringVar(&t.since, "since", "", "start with lines of this `time` or duration before now (10m, 2d)")
	f.StringVar(&t.from, "from", "",
		"start at this `position`: start, end, a time, a duration before now, a position (3:4096)")
	f.StringVarP(&t.highlight, "highlight", "H", "", "highlight what matches this `expression`")
	f.StringVarP(&t.output, "output", "o", "default", outputHelp)
	f.BoolVar(&t.noFollow, "no-follow", false, "stop at the end of the log")
	config.BytesVar(f, &t.lag, "lag", -1,
		"skip lines when more than this many `bytes` behind, such as 64MiB; 0: never (default 256MiB)")
	f.StringVar(&t.color, "color", "auto", "auto: on a terminal, unless NO_COLOR is set; always; never")
	t.lineFilter.flags(c)
	t.collectorURL.flags(c)
	return c
}

// outputs are what --output may be, and how the live tail calls it.
var outputs = map[string]string{"default": "line", "raw": "body", "json": "json"}

const outputHelp = "default: lines as in the file; raw: without time, host and source; json"

func errOutput(output string) error {
	return fmt.Errorf("--output %q: want default, raw or json", output)
}

func (t *tailer) run(ctx context.Context, stdout io.Writer) error {
	if err := t.prepare(stdout); err != nil {
		return err
	}
	first := true
	for pauses := (retry.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}); ; {
		before := t.last
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
		if t.last != before {
			pauses.Reset()
		}
		escape.Fprintf(t.stderr,
			"the connection to the collector is lost (%v); connecting again, to continue after %s\n",
			err, cmp.Or(t.last, "the end"))
		if pauses.Wait(ctx) != nil {
			return nil
		}
	}
}

func (t *tailer) prepare(stdout io.Writer) (err error) {
	if t.out, err = newPainter(stdout, t.color, t.highlight); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "%w", err)
	}
	t.out.json = t.output == "json"
	if outputs[t.output] == "" {
		return daemon.Exitf(daemon.ExitUsage, "%w", errOutput(t.output))
	}
	if t.connect != "" {
		t.to, err = t.target()
		return err
	}
	_, state, err := t.o.log()
	if err == nil {
		t.to = socketOf(state)
		t.to.client.Transport = &http.Transport{DialContext: dialSocket(t.to.name)} // its header may wait for the log
	}
	return err
}

func (t *tailer) query() url.Values {
	q := t.lineFilter.query()
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
	q.Set("format", outputs[t.output])
	return q
}
