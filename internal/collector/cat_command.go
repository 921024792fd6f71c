package collector

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/merge"
)

// catOptions are the flags of the command `cat`.
type catOptions struct {
	lineFilter
	since, until, from, output string
	color, highlight           string // as `tail` has them
	follow, position           bool
	urls                       []string
	remote                     collectorURL
	archive                    archivePlace
	args                       []string
}

// cat is the command `cat`: it prints the lines of all partitions of a log.
type cat struct {
	catOptions
	o       *options
	stderr  io.Writer
	out     *catPrinter
	begin   time.Time    // since; zero: not set
	end     time.Time    // until; zero: not set
	places  merge.Places // from; nil: not set
	missing bool         // lines that no longer exist were left out
	last    *lastLines   // with which to begin; nil: with all
}

func (o *options) catCommand() *cobra.Command {
	x := &cat{o: o, catOptions: catOptions{color: "never"}}
	c := o.command("cat [file:///DIRECTORY|s3://BUCKET/PREFIX]",
		"print the lines of the log, or of an archive of logs, by the time at which they were read", nil)
	c.Args = usageArgs(cobra.MaximumNArgs(1))
	c.RunE = func(c *cobra.Command, args []string) error {
		x.stderr = c.ErrOrStderr()
		if x.args = args; x.archive.asConfigured || len(args) > 0 && len(x.urls) == 0 {
			return x.runArchive(daemon.Terminated(), args, c.OutOrStdout())
		}
		return x.run(daemon.Terminated(), c.OutOrStdout())
	}
	c.Long = `cat reads the files of the log, rotated and compressed ones too, while a collector writes them or
when none does. It changes nothing. Lines of one source stay in their order, and each is printed once.

Of an archive, it prints the files of each log in their order, one log after the other.`
	f := c.Flags()
	f.StringVar(&x.since, "since", "", "start with lines of this `time` or duration before now (10m, 2d)")
	f.StringVar(&x.until, "until", "", "stop before lines of this `time` or duration before now")
	f.StringVar(&x.from, "from", "", "continue at this `position`, as --print-position prints it (0:3:4096)")
	f.BoolVarP(&x.follow, "follow", "f", false, "at the end, wait for more lines")
	f.BoolVar(&x.position, "print-position", false, "at the end, print the position on standard error, for --from")
	f.StringVarP(&x.output, "output", "o", "default", outputHelp)
	f.StringArrayVar(&x.urls, "url", nil,
		"read the log of the collector whose HTTP listener has this `URL`, in place of files; may be repeated")
	x.lineFilter.flags(c)
	x.remote.proofFlags(c)
	x.archive.flags(c)
	return c
}

func (x *cat) run(ctx context.Context, stdout io.Writer) error {
	sources := x.files
	if len(x.urls) > 0 {
		sources = x.collectors
	}
	if err := x.prepare(); err != nil {
		return err
	}
	all, format, err := sources(ctx)
	if err != nil {
		return err
	}
	filter := x.lineFilter.filter()
	filter.Since = x.begin
	if x.out, err = newCatPrinter(stdout, format, &x.catOptions, filter); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "%w", err)
	}
	return x.partitions(ctx, all)
}

// files are the partitions whose files are on this machine.
func (x *cat) files(ctx context.Context) (all []catPartition, format string, err error) {
	if x.o.config == "" && x.o.out == "" {
		_, _, err := x.o.log()
		return nil, "", err
	}
	cfg, err := x.o.load()
	if err != nil {
		return nil, "", err
	}
	if x.o.partition != "" {
		if _, err := x.o.chosen(cfg); err != nil {
			return nil, "", err
		}
	}
	format = cfg.Collector.Log.Format
	if cfg.Collector.Cluster != nil {
		l := &localLogs{settings: cfg, only: x.o.partition}
		all, err = x.ofCluster(ctx, &clusterLogs{find: l.find})
		return all, format, err
	}
	log, err := sink.Observe(ctx, cfg.Collector.Log.Path, cfg.state(), format)
	return []catPartition{{tenures: []merge.Tenure{{Log: merge.Observed{Sink: log}}}}}, format, err
}

// prepare reads the flags that say where to begin and to end.
func (x *cat) prepare() (err error) {
	if x.from != "" && x.since != "" {
		return daemon.Exitf(daemon.ExitUsage, "--from and --since both say where to begin: use one of them")
	}
	if x.from != "" {
		if x.places, err = merge.ParsePlaces(x.from); err != nil {
			return daemon.Exitf(daemon.ExitUsage, "--from: %w", err)
		}
	}
	now := time.Now()
	return cmp.Or(x.time(&x.begin, "since", x.since, now), x.time(&x.end, "until", x.until, now))
}

// time reads a flag that is a time.
func (x *cat) time(t *time.Time, flag, text string, now time.Time) (err error) {
	if text == "" {
		return nil
	}
	if *t, err = sink.ParseTime(text, now); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "--%s %q: want a time (2026-11-22T17:00:00Z) or a duration before now "+
			"(10m, 2d)", flag, text)
	}
	return nil
}

// catPartition is what is read of one partition.
type catPartition struct {
	number  int
	tenures []merge.Tenure
	more    func(ctx context.Context) ([]merge.Tenure, error) // as they are by now; nil: they do not change
}

// partitions prints the lines of partitions, which are in their order.
func (x *cat) partitions(ctx context.Context, all []catPartition) (err error) {
	if x.last != nil {
		if x.places, err = x.printLast(ctx, all); err != nil || ctx.Err() != nil {
			return err
		}
	}
	var logs []merge.Log
	var places merge.Places
	for _, p := range all {
		at, err := x.place(ctx, &p)
		if err != nil {
			return err
		}
		log, err := merge.NewPartition(ctx, at, p.tenures)
		if err != nil {
			return err
		}
		defer log.Close() // after the merge
		log.More = p.more
		logs, places = append(logs, log), append(places, at)
	}
	return x.print(ctx, logs, places)
}

// place returns where to begin in a partition.
func (x *cat) place(ctx context.Context, p *catPartition) (merge.Place, error) {
	if !x.begin.IsZero() {
		return merge.Since(ctx, p.number, p.tenures, x.begin)
	}
	at, _ := x.places.Of(p.number)
	return at, nil
}

// print prints the lines of logs from their places on.
func (x *cat) print(ctx context.Context, logs []merge.Log, at merge.Places) error {
	m := merge.New(logs, at, merge.Options{Until: x.end, Follow: x.follow, Idle: func() { x.out.flush() }})
	defer m.Close()
	err := x.copy(ctx, m)
	if flushed := x.out.flush(); err == nil {
		err = flushed
	}
	if x.position {
		escape.Fprintf(x.stderr, "position %s\n", m.Places())
	}
	if err == nil {
		err = x.complete()
	}
	return err
}

// complete fails if lines were left out.
func (x *cat) complete() error {
	if x.missing {
		return daemon.Exitf(daemon.ExitFailure, "lines that no longer exist were left out")
	}
	return nil
}

// copy prints what a merge returns, to its end or until ctx ends.
func (x *cat) copy(ctx context.Context, m *merge.Merge) error {
	for {
		p, err := m.Next(ctx)
		var gone *sink.GoneError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &gone):
			x.missing = true
			escape.Fprintf(x.stderr, "the lines from position %s to %s no longer exist\n", gone.From, gone.To)
			continue
		case err != nil:
			return err
		case len(p.Text) == 0:
			return nil
		}
		if err := x.out.piece(p); err != nil {
			return err
		}
	}
}
