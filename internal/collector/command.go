// Package collector is the program fanin-collector: its command line, its
// configuration, and how the parts of the collector are put together.
package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink"
)

// options are the flags.
type options struct {
	config, out, nats, listen, work, http, state, format, sync string
	insecure, json, noEnvironment, upstream                    bool
	partition                                                  string // of a cluster; "": none was named
	cluster                                                    bool
	remote                                                     collectorURL // of commands that ask a running collector
}

// Command is the command line of the program. Without a sub-command it runs.
func Command() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "fanin-collector",
		Short: "collect lines from many machines in one rotated file",
		Long: `fanin-collector receives lines from agents (each exactly once), from plain TCP
connections, from datagrams and over NATS, and writes them to one rotated file.

  fanin-collector --out all.log                 listens on 127.0.0.1:6789
  fanin-collector --config /etc/fanin/collector.toml

Exit codes: 0 ok, 1 failure, 64 usage, 69 not running, 75 try later, 78 configuration.`,
		Args:          usageArgs(cobra.NoArgs),
		Version:       daemon.Version("fanin-collector"),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return daemon.Exitf(daemon.ExitUsage, "%w\ntry: %s --help", err, c.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&o.config, "config", os.Getenv("FANIN_CONFIG"), "configuration `file` (TOML); also FANIN_CONFIG")
	f.StringVar(&o.out, "out", "", "write the log to this `file`")
	f.StringVar(&o.partition, "partition", "", "of a cluster: the log of this `number`")
	f.StringVar(&o.state, "state", "",
		"keep the state of the log in this `directory` (default: .NAME.fanin next to the log)")
	for _, c := range []*cobra.Command{root, o.runCommand()} {
		c.Flags().StringVar(&o.listen, "listen", "",
			"listen on this `address`, TCP and UDP (default 127.0.0.1:6789; port 0: any free port)")
		c.Flags().StringVar(&o.work, "work", "",
			"serve workers on this `address`, such as 127.0.0.1:6791 (default: off)")
		c.Flags().StringVar(&o.http, "http", "", "serve live tail, health, metrics and control over HTTP on this "+
			"`address`, such as 127.0.0.1:6790 (default: off)")
		c.Flags().StringVar(&o.nats, "nats", "",
			"receive agents' lines over the NATS server at this `url`, such as nats://127.0.0.1:4222 (default: off)")
		c.Flags().BoolVar(&o.insecure, "insecure", false, "allow listeners that other machines can reach without TLS")
		c.Flags().StringVar(&o.format, "format", "",
			"format of lines in the file: syslog, json or raw (default syslog)")
		c.Flags().StringVar(&o.sync, "sync", "",
			"commit: acknowledged lines survive a power cut; none: they survive a kill only (default commit)")
		if c != root {
			root.AddCommand(c)
		}
	}
	for _, c := range []*cobra.Command{o.statusCommand(), o.rotateCommand(), o.reopenCommand(), o.reloadCommand(),
		o.drainCommand(), o.streamsCommand(), o.groupsCommand(), o.workersCommand(), o.replayCommand(),
		o.forgetCommand(), o.refusedCommand(), o.clusterCommand()} {
		o.remote.flags(c)
		root.AddCommand(c)
	}
	root.AddCommand(o.checkCommand(), o.verifyCommand(), o.repairCommand(), o.filesCommand(), o.tailCommand(),
		o.catCommand(), o.workCommand(), o.curveKeyCommand(), o.parseCommand(), o.tokenCommand(), o.pkiCommand(),
		o.doctorCommand(), o.topCommand())
	return root
}

// usageArgs makes wrong arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return daemon.Exitf(daemon.ExitUsage, "%w\ntry: %s --help", err, c.CommandPath())
		}
		return nil
	}
}

func (o *options) command(use, short string, run func(ctx context.Context, c *cobra.Command) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return run(context.Background(), c) }}
}

func noArguments(c *cobra.Command, args []string) error {
	return daemon.NoArguments(c.CommandPath(), args)
}

func (o *options) runCommand() *cobra.Command {
	return o.command("run", "run the collector (the default)",
		func(_ context.Context, c *cobra.Command) error { return o.run(c) })
}

func (o *options) run(c *cobra.Command) error {
	if o.config == "" && o.out == "" {
		c.SetOut(os.Stderr)
		c.Help()
		return daemon.Exitf(daemon.ExitUsage, "\nno file to write: set --out FILE or --config FILE")
	}
	cfg, err := o.load()
	if err != nil {
		return err
	}
	return run(daemon.Terminated(), cfg, o.load)
}

func (o *options) checkCommand() *cobra.Command {
	c := o.command("check", "check the configuration and the files, ports and certificates it names; change nothing",
		func(ctx context.Context, c *cobra.Command) error {
			if o.config == "" {
				return daemon.Exitf(daemon.ExitUsage, "no configuration to check: set --config FILE")
			}
			cfg, err := o.load()
			if err == nil {
				err = cfg.checkMisgrants()
			}
			if err == nil && !o.noEnvironment {
				err = cfg.checkEnvironment(ctx)
			}
			if err != nil {
				return err
			}
			escape.Fprintf(c.OutOrStdout(), "%s: ok\n", o.config)
			for _, p := range cfg.ports() {
				if name, ok := systemdName(p.listen); ok {
					escape.Fprintf(c.OutOrStdout(), "%s: not tried: systemd passes the socket %q at the start\n",
						p.path(), name)
				}
			}
			return nil
		})
	c.Flags().BoolVar(&o.noEnvironment, "no-environment", false,
		"check the file only, not directories, ports and certificates")
	return c
}

// log returns the paths of the log and of its state, for commands that only read.
func (o *options) log() (path, state string, err error) {
	if o.config == "" && o.out == "" {
		return "", "", daemon.Exitf(daemon.ExitUsage,
			"no log: set --out FILE or --config FILE; that of the service is %s", serviceConfig)
	}
	cfg, err := o.load()
	if err == nil {
		cfg, err = o.chosen(cfg)
	}
	if err != nil {
		return "", "", err
	}
	return cfg.Collector.Log.Path, cfg.state(), nil
}

func (o *options) jsonFlag(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func printReport(w io.Writer, r *sink.Report) {
	for _, p := range r.Problems {
		escape.Fprintf(w, "PROBLEM %s\n", p)
	}
	for _, n := range r.Notes {
		escape.Fprintf(w, "note %s\n", n)
	}
	for _, s := range r.Streams {
		escape.Fprintf(w, "stream %s host=%s source=%s lines=%d offset=%d epochs=%d skipped=%d gaps=%d repeats=%d\n",
			s.Stream, s.Host, s.Source, s.Lines, s.Offset, s.Epochs, s.Skipped, s.Gaps, s.Repeats)
	}
	if k := r.Keys; k != nil {
		escape.Fprintf(w, "requests with a key: %d, lines=%d partial=%d\n", k.Requests, k.Lines, k.Partial)
	}
	if r.Waiting > 0 {
		escape.Fprintf(w, "%d commits are in the write-ahead log only; the next start writes them to the file\n",
			r.Waiting)
	}
	word := "ok"
	if !r.OK() {
		word = fmt.Sprintf("%d problems", r.Found)
	}
	escape.Fprintf(w, "%s: %s: %d lines, %d bytes in %d files, %d streams\n", r.Path, word, r.Lines, r.Bytes,
		len(r.Generations), len(r.Streams))
}

func (o *options) repairCommand() *cobra.Command {
	return o.command("repair", "after damage to the state: keep every line that can be read, and report what cannot",
		func(ctx context.Context, c *cobra.Command) error {
			path, state, err := o.log()
			if err != nil {
				return err
			}
			notes, err := sink.Repair(ctx, path, state)
			for _, s := range notes {
				escape.Fprintf(c.OutOrStdout(), "%s\n", s)
			}
			return err
		})
}

func (o *options) filesCommand() *cobra.Command {
	return o.jsonFlag(o.command("files", "list the files of the log, oldest first",
		func(_ context.Context, c *cobra.Command) error {
			path, state, err := o.log()
			if err != nil {
				return err
			}
			list, err := sink.Generations(path, state)
			if err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), list)
			}
			for _, g := range list {
				escape.Fprintf(c.OutOrStdout(), "%6d  %-8s %12d  %s\n", g.Number, g.State, g.Size, g.Name)
			}
			return nil
		}))
}

func (o *options) statusCommand() *cobra.Command {
	c := o.jsonFlag(o.command("status", "show the state of the running collector",
		func(ctx context.Context, c *cobra.Command) error {
			if o.ofCluster() {
				return o.showCluster(ctx, c.OutOrStdout())
			}
			var st status
			if err := o.ask(ctx, "GET", "/status", &st); err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), st)
			}
			st.print(c.OutOrStdout())
			return nil
		}))
	c.Flags().BoolVar(&o.cluster, "cluster", false, "show the owner of each partition of the cluster")
	return c
}

func (o *options) rotateCommand() *cobra.Command {
	return o.jsonFlag(o.command("rotate", "close the live file and start a new one",
		func(ctx context.Context, c *cobra.Command) error {
			var r sink.Rotation
			if err := o.ask(ctx, "POST", "/rotate", &r); err != nil {
				return err
			}
			switch {
			case o.json:
				return escape.PrintJSON(c.OutOrStdout(), r)
			case r.Name == "":
				escape.Fprintf(c.OutOrStdout(), "nothing to rotate: the live file is empty\n")
			default:
				escape.Fprintf(c.OutOrStdout(), "%s (generation %d, %d bytes)\n", r.Name, r.Generation, r.Size)
			}
			return nil
		}))
}

func (o *options) reopenCommand() *cobra.Command {
	return o.command("reopen", "start a new file if the live one was moved away (as SIGUSR1 does)",
		func(ctx context.Context, _ *cobra.Command) error {
			return o.ask(ctx, "POST", "/reopen", nil)
		})
}

func (o *options) reloadCommand() *cobra.Command {
	return o.command("reload", "read the configuration again (as SIGHUP does) and report the result",
		func(ctx context.Context, c *cobra.Command) error {
			var r reloaded
			if err := o.ask(ctx, "POST", "/reload", &r); err != nil {
				return err
			}
			r.print(c.OutOrStdout())
			return nil
		})
}

func (o *options) drainCommand() *cobra.Command {
	return o.command("drain", "stop the collector after it has written what it received (as SIGTERM does), and "+
		"wait until it has stopped", func(ctx context.Context, c *cobra.Command) error {
		// A collector that ends before it answers was already stopping: the wait is the same.
		if err := o.ask(ctx, "POST", "/drain", nil); err != nil && !errors.Is(err, errEnded) {
			return err
		}
		for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
			if errors.Is(o.ask(ctx, "GET", "/healthz", nil), errNotRunning) {
				return nil
			}
		}
		return daemon.Exitf(daemon.ExitLater, "the collector has not stopped within 2m: it is still writing what "+
			"it received; see its log for what it waits for, and status for the bytes in flight")
	})
}

// target returns the running collector: at --connect, or else over its control socket.
func (o *options) target() (*target, error) {
	if o.remote.connect != "" {
		return o.remote.target()
	}
	if o.config == "" && o.out == "" {
		_, _, err := o.log()
		return nil, err
	}
	cfg, err := o.load()
	if err == nil && (cfg.Collector.Cluster == nil || o.partition != "") {
		cfg, err = o.chosen(cfg)
	}
	if err != nil {
		return nil, err
	}
	return socketOf(cfg.state()), nil
}

// ask sends a request to the running collector.
func (o *options) ask(ctx context.Context, method, path string, into any) error {
	to, err := o.target()
	if err != nil {
		return err
	}
	return running(to.ask(ctx, method, path, into))
}

// running sets the exit code of the error that no collector is running.
func running(err error) error {
	if errors.Is(err, errNotRunning) {
		return daemon.Exitf(daemon.ExitUnreachable, "%w", err)
	}
	return err
}
