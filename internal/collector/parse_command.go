package collector

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanin/ingest"
	"fanin/ingest/syslog"
	"fanin/internal/daemon"
	"fanin/internal/wire"
)

// parseCommand shows how messages of syslog would be understood.
func (o *options) parseCommand() *cobra.Command {
	var listener, peer string
	c := &cobra.Command{
		Use:   "parse FILE|-",
		Short: "show how messages of syslog would be understood; no collector is needed",
		Long: `Reads messages of syslog as a connection brings them: each ends with a newline or a NUL, or
begins with its length (octet counting). Shows for each its host, source, time and text as
the log would have them.

With --config, it uses the settings of one listener, --listener, such as "udp", "tcp[1]" or
its address; without one, those of the only listener that takes such messages. Without
--config, it uses the defaults.

docs/clients.md has a table of all fields of a message and of where each goes.`,
		Example: `  tcpdump -l -A port 514            to see what a device sends
  nc -lu 514 | fanin-collector parse -
  fanin-collector parse --config /etc/fanin/collector.toml --listener udp messages.txt`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := o.parseSettings(listener)
			if err != nil {
				return err
			}
			in := io.ReadCloser(os.Stdin)
			if args[0] != "-" {
				if in, err = os.Open(args[0]); err != nil {
					return err
				}
				defer in.Close()
			}
			p := parser{scanner: s.New(), peer: wire.CleanHost(peer), out: c.OutOrStdout(), json: o.json}
			return p.run(in)
		},
	}
	c.Flags().StringVar(&listener, "listener", "",
		"use the settings of this listener of the configuration: its `name` or address")
	c.Flags().StringVar(&peer, "peer", "peer", "show this `name` as the host that sends")
	return o.jsonFlag(c)
}

// scans is a table of an input that takes messages of syslog.
type scans interface {
	scanner(s *settings) *syslog.Settings
}

// parseSettings are those of a listener; "": of the only one.
func (o *options) parseSettings(name string) (*syslog.Settings, error) {
	if o.config == "" {
		if name != "" {
			return nil, daemon.Exitf(daemon.ExitUsage,
				"--listener needs the configuration that has it: set --config FILE")
		}
		return (&headerTable{}).scanning(defaults(), "syslog"), nil
	}
	s, err := o.load()
	if err != nil {
		return nil, err
	}
	var fit, all []string
	var found scans
	for _, x := range s.Collector.Inputs {
		t, ok := x.table.(scans)
		if !ok {
			continue
		}
		names := x.names()
		all = append(all, names[0])
		if name == "" || slices.Contains(names, name) {
			fit, found = append(fit, names[0]), t
		}
	}
	switch {
	case len(all) == 0:
		return nil, daemon.Exitf(daemon.ExitUsage, "%s has no listener that takes messages of syslog", o.config)
	case len(fit) == 0:
		return nil, daemon.Exitf(daemon.ExitUsage, "no listener %q takes messages of syslog; want one of %s", name,
			strings.Join(all, ", "))
	case len(fit) > 1:
		return nil, daemon.Exitf(daemon.ExitUsage, "name one of several listeners with --listener: %s",
			strings.Join(fit, ", "))
	}
	x := found.scanner(s)
	if x == nil {
		return nil, daemon.Exitf(daemon.ExitUsage, "%s has format = \"plain\": each message is a line as it is", fit[0])
	}
	return x, nil
}

// names are those by which commands know a table: "udp[0]", "udp" and its addresses.
func (c *configuredInput) names() []string {
	names := []string{strings.TrimPrefix(c.at, "collector."), c.at, c.kind}
	for _, p := range c.table.needs().ports {
		names = append(names, p.listen)
	}
	return names
}

// parser shows messages.
type parser struct {
	scanner *syslog.Scanner
	peer    string
	out     io.Writer
	json    bool

	n int // messages
}

// run shows all messages of in.
func (p *parser) run(in io.Reader) error {
	r := bufio.NewReaderSize(in, wire.MaxLine)
	for {
		msg, err := readMessage(r)
		for _, m := range msg {
			if err := p.show(m); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readMessage reads messages as far as the end of the first, and those that end with NULs before
// it. Empty lines are none.
func readMessage(r *bufio.Reader) (all [][]byte, err error) {
	begin, _ := r.Peek(syslog.MaxCountHead) // an error shows below
	if head, size, _ := syslog.Count(begin); head > 0 {
		r.Discard(head)
		msg := make([]byte, min(size, wire.MaxLine))
		n, err := io.ReadFull(r, msg)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		if n == 0 {
			return nil, err
		}
		return [][]byte{msg[:n]}, err
	}
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil // the rest is the next one
	}
	line = bytes.TrimRight(line, "\r\n")
	parts := [][]byte{line}
	if _, size := ingest.Priority(line); size > 0 {
		parts = bytes.Split(line, []byte{0})
	}
	for _, m := range parts {
		if len(m) > 0 {
			all = append(all, bytes.Clone(m))
		}
	}
	return all, err
}

// show shows one message.
func (p *parser) show(msg []byte) error {
	p.n++
	m := understand(p.n, p.scanner, msg, &syslog.Origin{Host: p.peer, Now: time.Now()})
	if p.json {
		return m.printJSON(p.out)
	}
	m.print(p.out, p.peer)
	return nil
}
