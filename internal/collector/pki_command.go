package collector

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/pki"
)

// serviceConfig is the configuration of the service.
const serviceConfig = "/etc/fanin/collector.toml"

// pkiCommand has the commands of the collector's own authority.
func (o *options) pkiCommand() *cobra.Command {
	c := &cobra.Command{Use: "pki", Short: "invite hosts, list and revoke their certificates",
		Long: `A fleet in four commands. On the collector, as root:

  fanin-collector pki init --name collector.example
  fanin-collector pki invite web-1

and on the host that is to be web-1, with the line that invite printed:

  fanin-agent join TOKEN
  systemctl enable --now fanin-agent

The collector has an authority of its own, signs a certificate for each host that was
invited, and renews all of them. Configurations are read from ` + serviceConfig + `
unless --config or --out names another one.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.PersistentPreRun = func(*cobra.Command, []string) {
		if o.config == "" && o.out == "" {
			o.config = serviceConfig
		}
	}
	c.AddCommand(o.pkiInitCommand(), o.pkiInviteCommand(), o.pkiListCommand(), o.pkiRevokeCommand(),
		o.pkiRotateCommand())
	return c
}

func (o *options) pkiInviteCommand() *cobra.Command {
	var many, address string
	var uses int
	valid := pki.TokenValid
	c := &cobra.Command{Use: "invite NAME", Short: "print a token with which a host gets its certificate",
		Long: `Prints one line, the token. On the host: fanin-agent join TOKEN. It is for one host, for an
hour. A host that joined already can be invited again: after its certificate expired or was
revoked, or when its disk was lost.

With --many, one token is for many hosts: each gets a certificate for its own name, if that
matches the pattern and never had one.`,
		Example: `  fanin-collector pki invite web-1
  fanin-collector pki invite --many 'k8s-*' --uses 100 --expires 7d`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (many != "") {
				return daemon.Exitf(daemon.ExitUsage, "one name is needed, or a pattern: fanin-collector pki "+
					"invite web-1, or "+
					"--many 'k8s-*' --uses 100")
			}
			q := url.Values{"many": {many}, "address": {address}, "expires": {valid.String()}}
			if many != "" {
				q.Set("uses", strconv.Itoa(uses))
			} else {
				q.Set("name", args[0])
			}
			var made invited
			if err := o.ask(c.Context(), "POST", "/pki/invite?"+q.Encode(), &made); err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), made)
			}
			escape.Fprintf(c.ErrOrStderr(), "valid until %s; on the host, as root: fanin-agent join TOKEN\n",
				made.Expires.Local().Format(time.DateTime))
			_, err := escape.Fprintf(c.OutOrStdout(), "%s\n", made.Token)
			return err
		}}
	c.Flags().StringVar(&many, "many", "", "one token for all hosts whose names match this `pattern`, such as 'k8s-*'")
	c.Flags().IntVar(&uses, "uses", 0, "with --many: for `n` hosts at most")
	config.DurationVar(c.Flags(), &valid, "expires", valid, "the token is valid for this `duration`")
	c.Flags().StringVar(&address, "address", "",
		"where the host reaches the collector, `host:port` (default: the name of pki init, and the port of the "+
			"listener)")
	return o.jsonFlag(c)
}

func (o *options) pkiListCommand() *cobra.Command {
	return o.jsonFlag(o.command("list", "list hosts with their certificates, and open invitations",
		func(ctx context.Context, c *cobra.Command) error {
			var l pki.List
			if err := o.ask(ctx, "GET", "/pki/list", &l); err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), l)
			}
			printFleet(c.OutOrStdout(), &l)
			return nil
		}))
}

// printFleet prints what the authority knows.
func printFleet(w io.Writer, l *pki.List) {
	for _, a := range l.Authorities {
		until := ""
		if a.Until != nil {
			until = fmt.Sprintf("; was replaced, trusted until %s", day(*a.Until))
		}
		escape.Fprintf(w, "authority %s  expires %s%s\n", a.ID, day(a.Expires), until)
	}
	escape.Fprintf(w, "collector %s  expires %s, will be renewed %s\n", l.Server.Names, day(l.Server.Expires),
		day(l.Server.Renews))
	if len(l.Hosts) == 0 {
		escape.Fprintf(w, "no host has joined yet: fanin-collector pki invite NAME\n")
	}
	for _, h := range l.Hosts {
		escape.Fprintf(w, "%-24s %-8s expires %s  serial %s  authority %s\n", h.Name, h.State, day(h.Expires), h.Serial,
			h.Authority)
	}
	for _, i := range l.Invitations {
		name := i.Name
		if i.Pattern != "" {
			name = fmt.Sprintf("%s (%d of %d joined)", i.Pattern, i.Used, i.Uses)
		}
		escape.Fprintf(w, "%-24s invitation %s, %s, valid until %s\n", name, i.ID, i.State,
			i.Expires.Local().Format(time.DateTime))
	}
}

func day(t time.Time) string { return t.Local().Format(time.DateOnly) }

func (o *options) pkiRevokeCommand() *cobra.Command {
	c := &cobra.Command{Use: "revoke NAME", Short: "refuse every certificate that a host has got so far",
		Long: `Refuses every certificate that was made for this name so far, closes the connections of
those who use one, and withdraws open invitations for the name. It cannot be undone; a new
invitation works: fanin-collector pki invite NAME.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var done revoked
			if err := o.ask(c.Context(), "POST", "/pki/revoke?"+url.Values{"name": args}.Encode(), &done); err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), done)
			}
			escape.Fprintf(c.OutOrStdout(), "%s: %d certificates revoked, %d connections closed, %d invitations "+
				"withdrawn\n",
				done.Name, done.Certificates, done.Connections, done.Invitations)
			return nil
		}}
	return o.jsonFlag(c)
}

func (o *options) pkiRotateCommand() *cobra.Command {
	overlap := pki.HostValid
	c := o.command("rotate", "replace the authority; the old one stays trusted for a while",
		func(ctx context.Context, c *cobra.Command) error {
			q := url.Values{"overlap": {overlap.String()}}
			var done pki.Rotation
			if err := o.ask(ctx, "POST", "/pki/rotate?"+q.Encode(), &done); err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), done)
			}
			if overlap == 0 {
				escape.Fprintf(c.OutOrStdout(), "authority %s replaces %s, which is no longer trusted: every "+
					"host needs an "+
					"invitation\n", done.Authority, done.Older)
				return nil
			}
			escape.Fprintf(c.OutOrStdout(), "authority %s replaces %s, which is trusted until %s; hosts change "+
				"at their next connection or renewal (fanin-collector pki list shows the hosts that "+
				"have not)\n", done.Authority, done.Older, day(done.Until))
			return nil
		})
	config.DurationVar(c.Flags(), &overlap, "overlap", overlap,
		"trust the old authority for this `duration`; 0 if its key was stolen: then every host needs an invitation")
	return o.jsonFlag(c)
}
