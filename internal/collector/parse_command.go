package collector

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fanin/ingest/syslog"
	"fanin/internal/daemon"
	"fanin/internal/wire"
)

// parseCommand shows how messages of syslog would be understood.
func (o *options) parseCommand() *cobra.Command {
	var listener, peer string
	var gelf bool
	c := &cobra.Command{
		Use:   "parse FILE|-",
		Short: "show how messages of syslog or GELF would be understood; no collector is needed",
		Long: `Reads messages of syslog as a connection brings them: each ends with a newline or a NUL, or
begins with its length (octet counting). With --gelf, or the listener of GELF, it reads messages of
GELF. Shows for each its host, source, time and text as the log would have them.

With --config, it uses the settings of one listener, --listener, such as "udp", "tcp[1]" or
its address; without one, those of the only listener that takes such messages. Without
--config, it uses the defaults.

docs/clients.md has a table of all fields of a message and of where each goes.`,
		Example: `  tcpdump -l -A port 514            to see what a device sends
  nc -lu 514 | fanin-collector parse -
  fanin-collector parse --config /etc/fanin/collector.toml --listener udp messages.txt`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			p := &parser{peer: wire.CleanHost(peer), out: c.OutOrStdout(), json: o.json}
			if err := o.prepareParser(p, listener, gelf); err != nil {
				return err
			}
			if args[0] == "-" {
				return p.run(os.Stdin)
			}
			in, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			return p.run(in)
		},
	}
	c.Flags().StringVar(&listener, "listener", "",
		"use the settings of this listener of the configuration: its `name` or address")
	c.Flags().BoolVar(&gelf, "gelf", false, "read messages of GELF, with the default settings")
	c.Flags().StringVar(&peer, "peer", "peer", "show this `name` as the host that sends")
	return o.jsonFlag(c)
}

// scans is a table of an input that takes messages of syslog.
type scans interface {
	scanner(s *settings) *syslog.Settings
}

// prepareParser prepares a parser with the settings of a listener; "": of the only one.
func (o *options) prepareParser(p *parser, name string, gelf bool) error {
	switch {
	case gelf && (name != "" || o.config != ""):
		return daemon.Exitf(daemon.ExitUsage, "--gelf is for default settings: with --config, name the listener")
	case gelf:
		p.run = p.runGELF((&gelfTable{}).messages(defaults()))
		return nil
	case o.config == "" && name != "":
		return daemon.Exitf(daemon.ExitUsage, "--listener needs the configuration that has it: set --config FILE")
	case o.config == "":
		p.run = p.runSyslog((&headerTable{}).scanning(defaults(), "syslog"))
		return nil
	}
	s, err := o.load()
	if err != nil {
		return err
	}
	x, err := o.parsedInput(s, name)
	if err != nil {
		return err
	}
	if t, ok := x.table.(*gelfTable); ok {
		p.run = p.runGELF(t.messages(s))
		return nil
	}
	scanner := x.table.(scans).scanner(s)
	if scanner == nil {
		return daemon.Exitf(daemon.ExitUsage, "%s has format = \"plain\": each message is a line as it is",
			x.names()[0])
	}
	p.run = p.runSyslog(scanner)
	return nil
}

// parsedInput finds the input of a name whose messages can be shown; "": the only one.
func (o *options) parsedInput(s *settings, name string) (found *configuredInput, err error) {
	var fit, all []string
	for i := range s.Collector.Inputs {
		x := &s.Collector.Inputs[i]
		_, isSyslog := x.table.(scans)
		if _, isGELF := x.table.(*gelfTable); !isSyslog && !isGELF {
			continue
		}
		names := x.names()
		all = append(all, names[0])
		if name == "" || slices.Contains(names, name) {
			fit, found = append(fit, names[0]), x
		}
	}
	switch {
	case len(all) == 0:
		return nil, daemon.Exitf(daemon.ExitUsage, "%s has no listener that takes messages of syslog or GELF", o.config)
	case len(fit) == 0:
		return nil, daemon.Exitf(daemon.ExitUsage, "no listener %q takes messages of syslog or GELF; want one of %s",
			name, strings.Join(all, ", "))
	case len(fit) > 1:
		return nil, daemon.Exitf(daemon.ExitUsage, "name one of several listeners with --listener: %s",
			strings.Join(fit, ", "))
	}
	return found, nil
}

// names are those by which commands know a table: "udp[0]", "udp" and its addresses.
func (c *configuredInput) names() []string {
	names := []string{strings.TrimPrefix(c.at, "collector."), c.at, c.kind}
	for _, p := range c.table.needs().ports {
		names = append(names, p.listen)
	}
	return names
}
