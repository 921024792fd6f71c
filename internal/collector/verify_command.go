package collector

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/depot"
	"fanin/sink/relay"
)

// archivePlace is where an archive is, as the flags of a command say, or the configuration.
type archivePlace struct {
	archiveTable
	asConfigured bool
}

// flags adds the flags to a command.
func (a *archivePlace) flags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&a.asConfigured, "archive", false, "the archive of [collector.archive]")
	f.StringVar(&a.Endpoint, "endpoint", "", "with s3://: the `URL` of the server (default: Amazon's)")
	f.StringVar(&a.Region, "region", "", "with s3://: the `region` of the bucket (default: the server is asked)")
	f.StringVar(&a.AccessKeyFile, "access-key-file", "", "with s3://: the `file` that has the id of the key")
	f.StringVar(&a.SecretKeyFile, "secret-key-file", "", "with s3://: the `file` that has the key")
}

// depot is the archive that a command is about: that at the URL of its arguments, with the key of its
// flags, or that of the configuration.
func (o *options) depot(a *archivePlace, args []string) (*depot.Depot, error) {
	table := a.archiveTable
	if len(args) == 0 {
		s, err := o.load()
		if err != nil {
			return nil, err
		}
		if s.Collector.Archive == nil {
			return nil, daemon.Exitf(daemon.ExitUsage, "%s has no [collector.archive]", o.config)
		}
		table = *s.Collector.Archive
	} else {
		table.To = args[0]
	}
	p, err := table.tlsPlace(nil)
	var d *depot.Depot
	if err == nil {
		d, err = depot.Open(p)
	}
	if err != nil {
		return nil, daemon.Exitf(daemon.ExitConfig, "%w", err)
	}
	return d, nil
}

func (o *options) verifyCommand() *cobra.Command {
	a := &archivePlace{}
	c := &cobra.Command{
		Use:   "verify [file:///DIRECTORY|s3://BUCKET/PREFIX]",
		Short: "read the whole log, or an archive of logs, and compare it with its ledger",
		Example: `  fanin-collector verify --config /etc/fanin/collector.toml
  fanin-collector verify --archive --config /etc/fanin/collector.toml
  fanin-collector verify s3://logs/site-1 --endpoint https://s3.example.net \
    --access-key-file key.id --secret-key-file key.secret`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if a.asConfigured || len(args) > 0 {
				return o.verifyArchive(c.Context(), a, args, c.OutOrStdout())
			}
			return o.verifyLog(c.Context(), c)
		},
	}
	a.flags(c)
	c.Flags().BoolVar(&o.upstream, "upstream", false,
		"also ask the running collector whether the one that it forwards to has all of the log")
	return o.jsonFlag(c)
}

// verified is what verify --upstream --json prints.
type verified struct {
	sink.Report
	Upstream *relay.Report `json:"upstream,omitempty"`
}

// verifyLog verifies the log on this machine.
func (o *options) verifyLog(ctx context.Context, c *cobra.Command) error {
	path, state, err := o.log()
	if err != nil {
		return err
	}
	ask(ctx, state, "POST", "/checkpoint", nil) // a running collector writes everything to the ledger
	var v verified
	if v.Report, err = sink.Verify(ctx, path, state); err != nil {
		return err
	}
	var unasked error
	if o.upstream {
		v.Upstream = new(relay.Report)
		if unasked = running(ask(ctx, state, "GET", "/upstream", v.Upstream)); unasked != nil {
			v.Upstream = nil
		}
	}
	out := c.OutOrStdout()
	if o.json {
		err = escape.PrintJSON(out, v)
	} else {
		printReport(out, &v.Report)
		switch {
		case unasked != nil:
			escape.Fprintf(out, "PROBLEM upstream: %v\n", unasked)
		case v.Upstream != nil:
			printUpstream(out, v.Upstream)
		}
	}
	switch {
	case err != nil:
		return err
	case !v.OK():
		return daemon.Exitf(daemon.ExitFailure, "%s: %d problems", path, v.Found)
	case v.Upstream != nil:
		return upstreamError(v.Upstream)
	}
	return unasked
}

// verifyArchive verifies all logs of an archive.
func (o *options) verifyArchive(ctx context.Context, a *archivePlace, args []string, w io.Writer) error {
	d, err := o.depot(a, args)
	if err != nil {
		return err
	}
	reports, err := d.Verify(ctx)
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		return daemon.Exitf(daemon.ExitFailure, "%s: no files of a log are there", d)
	}
	if o.json {
		err = escape.PrintJSON(w, reports)
	}
	found := 0
	for i := range reports {
		found += reports[i].Found
		if !o.json {
			printReport(w, &reports[i])
		}
	}
	if err == nil && found > 0 {
		err = daemon.Exitf(daemon.ExitFailure, "%s: %d problems", d, found)
	}
	return err
}
