package collector

import (
	"context"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink/distribute"
)

func printGroup(w io.Writer, g *distribute.GroupStatus) {
	escape.Fprintf(w, "group %s at %s workers=%d lag=%d lines, %d bytes, %.1fs in_flight=%d waiting=%d accepted=%d "+
		"redelivered=%d dead=%d expired=%d\n",
		g.Group, g.Position, g.Workers, g.LagLines, g.LagBytes, g.LagSeconds, g.InFlight, g.Waiting, g.Accepted,
		g.Redelivered, g.Dead, g.Expired)
	if g.DeadLetters != "" {
		escape.Fprintf(w, "  dead letters: %s\n", g.DeadLetters)
	}
	for _, p := range g.Problems {
		escape.Fprintf(w, "  %s\n", p)
	}
}

// listCommand asks for a list and prints it, one line each.
func listCommand[T any](o *options, use, short string, line func(io.Writer, *T)) *cobra.Command {
	return o.jsonFlag(o.command(use, short, func(ctx context.Context, c *cobra.Command) error {
		var list []T
		if err := o.ask(ctx, "GET", "/"+use, &list); err != nil {
			return err
		}
		if o.json {
			return escape.PrintJSON(c.OutOrStdout(), list)
		}
		for i := range list {
			line(c.OutOrStdout(), &list[i])
		}
		return nil
	}))
}

func (o *options) groupsCommand() *cobra.Command {
	return listCommand(o, "groups", "list the groups of workers: their position in the log and how far behind they are",
		printClusterGroup)
}

func (o *options) workersCommand() *cobra.Command {
	return listCommand(o, "workers", "list the workers that are connected",
		func(w io.Writer, s *distribute.WorkerStatus) {
			escape.Fprintf(w,
				"worker %s of group %s from %s since %s credit=%d in_flight=%d handed=%d acked=%d suspended=%v\n",
				s.Name, s.Group, s.Address, s.Since.Format("2006-01-02T15:04:05Z07:00"), s.Credit, s.InFlight, s.Handed,
				s.Acked, s.Suspended)
		})
}

// groupFlag is for commands about one group.
func groupFlag(c *cobra.Command, group *string) {
	c.Flags().StringVar(group, "group", "", "the group's `name`")
}

func (o *options) replayCommand() *cobra.Command {
	var group, from string
	c := o.jsonFlag(o.command("replay", "move a group to another position in the log: its lines are handed out "+
		"again from there", func(ctx context.Context, c *cobra.Command) error {
		if group == "" || from == "" {
			return daemon.Exitf(daemon.ExitUsage,
				"no group or no position: set --group NAME --from start|end|TIME|POSITION")
		}
		var r replayed
		if err := o.ask(ctx, "POST", "/replay?"+url.Values{"group": {group}, "from": {from}}.Encode(), &r); err != nil {
			return err
		}
		if o.json {
			return escape.PrintJSON(c.OutOrStdout(), r)
		}
		escape.Fprintf(c.OutOrStdout(), "group %s continues at %s\n", r.Group, r.Position)
		return nil
	}))
	groupFlag(c, &group)
	c.Flags().StringVar(&from, "from", "",
		"`position`: start, end, a time, a duration before now (10m, 2d) or a position (3:4096)")
	return c
}

func (o *options) forgetCommand() *cobra.Command {
	var group string
	c := o.command("forget", "remove a group: lines that it has not received are not handed out; its dead letters stay",
		func(ctx context.Context, _ *cobra.Command) error {
			if group == "" {
				return daemon.Exitf(daemon.ExitUsage, "no group: set --group NAME")
			}
			return o.ask(ctx, "POST", "/forget?"+url.Values{"group": {group}}.Encode(), nil)
		})
	groupFlag(c, &group)
	return c
}
