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
	files     certs.Files
	argv      []string
	log       *slog.Logger
	out, errs io.Writer
}

func (o *options) workCommand() *cobra.Command {
	w := &commandWorker{log: daemon.Logger(slog.LevelInfo)}
	c := &cobra.Command{
		Use:   "work --connect ADDR --group NAME [flags] -- command [argument...]",
		Short: "be a worker: give lines of a group to a command, and acknowledge what it took",
		Long: `Gives the lines of a group to a command. Each line goes to one worker of the
group, again until one has acknowledged it.

The command is started for each batch, with the lines on its standard input. When
it exits with 0, all of them are acknowledged. When it fails, they are handed out
again, in ever smaller batches, and a line that failed alone for the last time is
put to the group's dead letters.

With --lines the command runs on. For each line on its standard input, in turn,
it answers one line on its standard output: "ok", or "fail" and a reason. When it
ends, it is started again; the line it was at has failed, those behind it have not.
It must write nothing else to its standard output: any other answer fails its line and
ends the command, and when it says something before it was given a line, all lines
are handed back and the work ends with an error.

After SIGTERM or Ctrl-C the command may finish what it has, for --stop-timeout. Then
its process group is ended, and the lines without an answer are handed back untried.`,
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
	f.StringVar(&w.options.From, "from", "", "`where` a group that is new begins: end (default), start, a time, a time span ago, a position")
	f.IntVarP(&w.workers, "jobs", "j", 1, "so many workers, `N` commands at a time")
	f.IntVar(&w.batch, "batch", 1000, "give a command at most `N` lines at a time")
	f.BoolVar(&w.lines, "lines", false, "the command runs on and answers each line")
	config.DurationVar(f, &w.stopTime, "stop-timeout", 10*time.Second, "at the end the command has this `time` to finish what it has")
	config.DurationVar(f, &w.options.Lease, "lease", 0, "`time` that a batch may take (default and bound: the collector's)")
	f.StringVar(&w.options.Key, "key", "", "lines of the same `key` go to the same worker, in order: host, source or host+source")
	f.StringArrayVar(&w.options.Host, "host", nil, "only lines of this `host`; * and ? stand for anything; may be repeated")
	f.StringArrayVar(&w.options.Source, "source", nil, "only lines of this `source`; likewise")
	f.StringArrayVarP(&w.options.Include, "include", "i", nil, "only lines that match this `expression` (RE2); all of them, if repeated")
	f.StringArrayVarP(&w.options.Exclude, "exclude", "e", nil, "no lines that match this `expression`")
	f.BoolVar(&w.secure, "tls", false, "speak TLS")
	f.StringVar(&w.files.CA, "ca", "", "with --tls: the authority's certificate `file` (default: the system's)")
	f.StringVar(&w.files.Cert, "cert", "", "with --tls: the certificate `file` to show")
	f.StringVar(&w.files.Key, "cert-key", "", "with --tls: its key `file`")
	return c
}

// run works until ctx ends, or until the collector refuses.
func (w *commandWorker) run(ctx context.Context) error {
	if w.connect == "" || w.options.Group == "" {
		return daemon.Exitf(daemon.ExitUsage, "say where and for which group: --connect ADDR --group NAME")
	}
	if w.workers < 1 || w.batch < 1 {
		return daemon.Exitf(daemon.ExitUsage, "--jobs and --batch are at least 1")
	}
	if _, err := exec.LookPath(w.argv[0]); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "%w", err)
	}
	tlsConfig, err := w.tls()
	if err != nil {
		return err
	}
	w.options.Batch, w.options.Credit = w.batch, 2*w.batch
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, _ := os.Hostname()
	var all sync.WaitGroup
	outcomes := make(chan error, w.workers)
	for i := range w.workers {
		x := worker.Worker{Address: w.connect, TLS: tlsConfig, Explain: w.files.ExplainClient, Options: w.options, Log: w.log}
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
			cancel() // one that is refused would be missed among the others
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
