package collector

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"fanin/internal/top"
)

// topCommand shows the page's tables on a terminal.
func (o *options) topCommand() *cobra.Command {
	var once bool
	c := o.command("top", "show agents, streams, groups, inputs and files of the running collector, each second",
		func(ctx context.Context, c *cobra.Command) error {
			to, err := o.target()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			w := &topWatch{target: to}
			if err := running(w.ask(ctx)); err != nil || w.listErr != nil {
				return cmp.Or(err, w.listErr)
			}
			terminal, err := top.Open(os.Stdin, os.Stdout)
			if once || err != nil {
				head, tables := w.show(top.ByLag)
				return top.Print(c.OutOrStdout(), head, tables)
			}
			return top.Show(ctx, terminal, w.frame)
		})
	c.Long = `Shows the tables of the web page on a terminal, and draws them again each second: silent agents
and streams first, and the groups that are farthest behind. It ends with q.

  q   end          l   what is silent or behind first          n   by name

Without a terminal, or with --once, it prints each table once, in full.`
	c.Flags().BoolVar(&once, "once", false, "print the tables once, without control sequences")
	o.remote.flags(c)
	return c
}
