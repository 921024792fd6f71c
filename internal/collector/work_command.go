package collector

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// commandWorker is the command `work`: workers that are commands.
type commandWorker struct {
	connect   string
	options   protocol.Hello
	workers   int
	batch     int
	lines     bool
	stopTime  time.Duration
	secure    bool
	tokenFile string
	files     certs.Files
	argv      []string
	log       *slog.Logger
	out, errs io.Writer
}

func (o *options) workCommand() *cobra.Command {
	w := &commandWorker{log: daemon.Logger(slog.LevelInfo)}
	c := &cobra.Command{
		Use:   "work --connect ADDR --group NAME [flags] -- command [argument...]",
		Short: "be a worker: pass the lines of a group to a command, and acknowledge those it processed",
		Long: `Passes the lines of a group to a command. Each line goes to one worker of the group,
and is handed out again until a worker has acknowledged it.

The command is started for each batch, with the lines on its standard input. If it
exits with 0, all of them are acknowledged. If it fails, they are handed out again, in
ever smaller batches. A line that fails on its own too often becomes a dead letter of
the group.

With --lines the command keeps running. For each line on its standard input it writes
one line to its standard output: "ok", or "fail" and a reason. If it ends, it is started
again; the line that it was processing has failed, the lines after it have not. It must
write nothing else to its standard output: any other answer fails its line and ends the
command. If it writes something before it received a line, all lines are released and
the work ends with an error.

After SIGTERM or Ctrl-C the command has --stop-timeout to finish its lines. Then its
process group is ended, and lines without an answer are released without an attempt.`,
		Example: "  fanin-collector work --connect 127.0.0.1:6791 --group mail -j 4 -- ./send.sh",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			w.argv, w.out, w.errs = args, c.OutOrStdout(), c.ErrOrStderr()
			return w.run(daemon.Terminated())
		},
	}
	f := c.Flags()
	f.StringVar(&w.connect, "connect", "", "the `address` of the collector's [collector.work]")
	f.StringVar(&w.options.Group, "group", "", "the group's `name`")
	f.StringVar(&w.options.From, "from", "",
		"`position` at which a new group starts: end (default), start, a time, a duration before now, a position")
	f.IntVarP(&w.workers, "jobs", "j", 1, "run `N` workers, each with a command of its own")
	f.IntVar(&w.batch, "batch", 1000, "pass at most `N` lines to a command at a time")
	f.BoolVar(&w.lines, "lines", false, "the command keeps running and answers each line")
	config.DurationVar(f, &w.stopTime, "stop-timeout", 10*time.Second,
		"when stopping, the command has this `time` to finish its lines")
	config.DurationVar(f, &w.options.Lease, "lease", 0,
		"`time` that a batch may take (default and maximum: the collector's)")
	f.StringVar(&w.options.Key, "key", "",
		"lines with the same `key` go to the same worker, in order: host, source, host+source, or log for all lines")
	f.StringArrayVar(&w.options.Host, "host", nil, "only lines of this `host`; * and ? are wildcards; may be repeated")
	f.StringArrayVar(&w.options.Source, "source", nil,
		"only lines of this `source`; * and ? are wildcards; may be repeated")
	f.StringArrayVarP(&w.options.Include, "include", "i", nil,
		"only lines that match this `expression` (RE2); if repeated, all of them")
	f.StringArrayVarP(&w.options.Exclude, "exclude", "e", nil, "no lines that match this `expression`")
	tokenFlag(c, &w.tokenFile)
	f.BoolVar(&w.secure, "tls", false, "use TLS")
	f.StringVar(&w.files.CA, "ca", "",
		"with --tls: the `file` with the authority's certificate (default: the system's authorities)")
	f.StringVar(&w.files.Cert, "cert", "", "with --tls: the `file` with the client certificate")
	f.StringVar(&w.files.Key, "cert-key", "", "with --tls: its key `file`")
	return c
}

// run works until ctx ends, or until the collector refuses.
func (w *commandWorker) run(ctx context.Context) error {
	if w.connect == "" || w.options.Group == "" {
		return daemon.Exitf(daemon.ExitUsage, "no address or no group: set --connect ADDR --group NAME")
	}
	if w.workers < 1 || w.batch < 1 {
		return daemon.Exitf(daemon.ExitUsage, "--jobs and --batch must be at least 1")
	}
	if _, err := exec.LookPath(w.argv[0]); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "%w", err)
	}
	tlsConfig, err := w.tls()
	if err != nil {
		return err
	}
	if w.options.Token, err = readToken(w.tokenFile, hostOf(w.connect), w.secure, "--tls"); err != nil {
		return err
	}
	w.options.Batch, w.options.Credit = w.batch, 2*w.batch
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, _ := os.Hostname()
	var all sync.WaitGroup
	outcomes := make(chan error, w.workers)
	for i := range w.workers {
		x := worker.Worker{Address: w.connect, TLS: tlsConfig, Explain: w.files.ExplainClient, Options: w.options,
			Log: w.log}
		x.Options.Name = fmt.Sprintf("%s/%d/%d", host, os.Getpid(), i+1)
		p := &process{w: w, quit: cancel}
		x.Handle = p.batch
		if w.lines {
			x.Handle = p.line
		}
		all.Go(func() { // ends with ctx
			err := x.Run(ctx)
			p.stop()
			outcomes <- cmp.Or(err, p.broken)
			cancel() // a refused worker would go unnoticed among the others
		})
	}
	all.Wait()
	close(outcomes)
	for err := range outcomes {
		var refused *worker.RefusedError
		if errors.As(err, &refused) {
			return daemon.Exitf(daemon.ExitUsage, "%w", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *commandWorker) tls() (*tls.Config, error) {
	if !w.secure {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(w.connect)
	if err != nil {
		return nil, daemon.Exitf(daemon.ExitUsage, "--connect %q: %w", w.connect, err)
	}
	w.files.ServerName = host
	config, err := w.files.Client()
	if err != nil {
		return nil, daemon.Exitf(daemon.ExitConfig, "%w", err)
	}
	return config(), nil
}
