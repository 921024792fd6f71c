// Package agent is the program fanin-agent: its command line, its configuration, and
// how the parts of the agent are put together.
package agent

import (
	"cmp"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
)

// options are the flags.
type options struct {
	config, to, id, state, ca, source string
	json, noEnvironment, sends        bool
	wait                              time.Duration // for lines of standard input; < 0: not set
}

// Command is the command line of the program. Without a sub-command it runs.
func Command() *cobra.Command {
	o := &options{wait: -1}
	root := &cobra.Command{
		Use:   "fanin-agent [flags] PATH...",
		Short: "follow files and send their lines to a collector, each exactly once",
		Long: `fanin-agent follows files, by name or pattern, and sends their lines to a
fanin-collector. A line counts as sent when the collector has committed it.

  fanin-agent --to 127.0.0.1:6789 /var/log/app.log '/var/log/nginx/*.log'
  fanin-agent --config /etc/fanin/agent.toml
  app | fanin-agent --to 127.0.0.1:6789 -

With -, it sends what it reads from standard input, and ends with 0 when all of it is
committed. If that takes longer than --wait, it ends with 75: the lines are kept in its
state, and the next run sends them.

Exit codes: 0 ok, 1 failure, 64 usage, 65 damaged data, 69 not reachable, 75 try later, 78 configuration.`,
		Args:          cobra.ArbitraryArgs,
		Version:       daemon.Version("fanin-agent"),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, paths []string) error { return o.run(c, paths) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return daemon.Exitf(daemon.ExitUsage, "%w\ntry: %s --help", err, c.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&o.config, "config", os.Getenv("FANIN_CONFIG"), "configuration `file` (TOML); also FANIN_CONFIG")
	f.StringVar(&o.to, "to", os.Getenv("FANIN_TO"), "the collector's `address`: HOST:PORT, with tcp://, tls://, "+
		"udp:// or nats:// before it if needed; also FANIN_TO")
	f.StringVar(&o.id, "id", os.Getenv("FANIN_ID"),
		"the agent's `id`, by which the collector knows it (default: host name); also FANIN_ID")
	f.StringVar(&o.state, "state", os.Getenv("FANIN_STATE"),
		"keep the agent's state in this `directory`; also FANIN_STATE")
	f.StringVar(&o.ca, "ca", "", "with tls://: the `file` with the authority's certificates")
	f.StringVar(&o.source, "source", "", "the `source` of the lines (default: the file's name without .log)")
	run := &cobra.Command{Use: "run PATH...", Short: "follow files, or read standard input (the default)",
		RunE: func(c *cobra.Command, paths []string) error { return o.run(c, paths) }}
	for _, c := range []*cobra.Command{root, run} {
		c.Flags().Var(config.NewDuration(&o.wait), "wait", "at the end of standard input, give up when nothing was "+
			"committed for this `duration` (default 30s)")
	}
	root.AddCommand(run, o.checkCommand(), o.sendCommand(), o.statusCommand(), o.joinCommand(), o.doctorCommand())
	return root
}

// mistyped returns an error if the only path is meant to be a command: it is almost the name of one, and
// there is no such file. ./NAME is always a file.
func mistyped(c *cobra.Command, paths []string) error {
	if len(paths) != 1 || strings.ContainsAny(paths[0], "./*?[{") {
		return nil
	}
	if _, err := os.Lstat(paths[0]); err == nil {
		return nil
	}
	if meant := c.Root().SuggestionsFor(paths[0]); len(meant) > 0 {
		return daemon.Exitf(daemon.ExitUsage, "there is no command and no file %q; did you mean the command %q? "+
			"To follow a file of this name once it exists, write ./%[1]s", paths[0], meant[0])
	}
	return nil
}

func (o *options) run(c *cobra.Command, paths []string) error {
	if err := mistyped(c, paths); err != nil {
		return err
	}
	if o.config == "" && (o.to == "" || len(paths) == 0) {
		c.SetOut(os.Stderr)
		c.Help()
		return daemon.Exitf(daemon.ExitUsage,
			"\nno collector or no files: set --to HOST:PORT PATH..., or --config FILE")
	}
	s, err := o.load(paths)
	if err != nil {
		return err
	}
	if s.onlyStdin() {
		return s.readStdin(daemon.Terminated())
	}
	return run(daemon.Terminated(), s, o.loader(paths))
}

// loader reads the configuration again, with the same flags.
func (o *options) loader(paths []string) func() (*settings, error) {
	return func() (*settings, error) { return o.load(paths) }
}

func (o *options) checkCommand() *cobra.Command {
	c := &cobra.Command{Use: "check", Short: "check the configuration and the files, addresses and certificates it " +
		"names; change nothing", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.config == "" {
				return daemon.Exitf(daemon.ExitUsage, "no configuration to check: set --config FILE")
			}
			s, err := o.load(nil)
			if err == nil && !o.noEnvironment {
				err = s.checkEnvironment(c.OutOrStdout())
			}
			if err == nil {
				escape.Fprintf(c.OutOrStdout(), "%s: ok\n", o.config)
			}
			return err
		}}
	c.Flags().BoolVar(&o.noEnvironment, "no-environment", false,
		"check the file only, not directories, addresses and certificates")
	return c
}

func (o *options) sendCommand() *cobra.Command {
	job := new(sendJob)
	c := &cobra.Command{Use: "send --to HOST:PORT FILE|DIRECTORY...",
		Short: "send whole files once, and return when every byte is committed",
		Long: `Sends files as they are now, and exits with 0 when every byte of all of them is
committed. A last line without a newline counts as a line. Bytes that an earlier send has
sent are not sent again. A file with several names is sent once.

Of a directory, all files in it and below it are sent, except for those whose names begin
with a dot and those that are no logs; it prints which. Of files that gzip or zstd
compressed, the text is sent, without storing it. Files are begun in the order of their
modification times, several at a time.

A damaged archive is sent up to the damage, and the exit code is then 65.

With - alone, it sends standard input, as fanin-agent - does.`,
		RunE: func(c *cobra.Command, paths []string) error {
			if len(paths) == 0 || o.to == "" && o.config == "" {
				return daemon.Exitf(daemon.ExitUsage, "no collector or no files: send --to HOST:PORT FILE...")
			}
			if slices.Equal(paths, []string{standardInput}) {
				if c.Flags().Changed("wait") {
					o.wait = job.patience
				}
				return o.run(c, paths)
			}
			if !c.Flags().Changed("wait") {
				job.greeting = 5 * time.Second
			}
			return o.send(job, paths, c.OutOrStdout())
		}}
	config.DurationVar(c.Flags(), &job.patience, "wait", time.Minute, "give up when nothing was committed for this "+
		"`duration` (if the flag is not set, also after 5s without a first answer)")
	c.Flags().BoolVar(&job.json, "json", false, "print the result as JSON")
	return c
}

// send sends files and directories.
func (o *options) send(job *sendJob, paths []string, stdout io.Writer) error {
	list, err := listFiles(paths)
	if err != nil {
		return err
	}
	o.sends = true
	s, err := o.load(nil)
	if err != nil {
		return err
	}
	job.source = o.source
	job.sendList, job.greeting = list, cmp.Or(job.greeting, job.patience)
	return job.send(daemon.Terminated(), s, stdout)
}

func (o *options) statusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "show the state of the running agent", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.to == "" && o.config == "" {
				o.to = "tcp://nowhere:0" // not used: the state directory identifies the agent
			}
			s, err := o.load([]string{"none"})
			if err != nil {
				return err
			}
			st, err := askStatus(s.Agent.State)
			if err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), st)
			}
			st.print(c.OutOrStdout())
			return nil
		}}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func noArguments(c *cobra.Command, args []string) error {
	return daemon.NoArguments(c.CommandPath(), args)
}
