package collector

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"fanin/internal/cluster"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
)

// clusterCommand shows the cluster, and has the commands that change it.
func (o *options) clusterCommand() *cobra.Command {
	c := o.jsonFlag(o.command("cluster", "show the owner of each partition of the cluster, and how far each is behind",
		func(ctx context.Context, c *cobra.Command) error { return o.showCluster(ctx, c.OutOrStdout()) }))
	move := &cobra.Command{
		Use:   "move PARTITION MEMBER",
		Short: "move a partition to a member, by its id or host; \"auto\" leaves the place to the cluster again",
		Args:  usageArgs(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := strconv.Atoi(args[0]); err != nil {
				return daemon.Exitf(daemon.ExitUsage, "partition %q; want a number", args[0])
			}
			q := url.Values{"partition": {args[0]}, "to": {args[1]}}
			return o.ask(context.Background(), "POST", "/cluster/move?"+q.Encode(), nil)
		},
	}
	o.remote.flags(move)
	c.AddCommand(move, o.recoverCommand())
	return c
}

// recoverCommand has the owner of a partition make lost logs of earlier owners again.
func (o *options) recoverCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "recover PARTITION",
		Short: "make what the lost disks of earlier owners had of a partition again, from the archive and the " +
			"stream; ask the partition's owner",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{"partition": {args[0]}}
			for {
				var x recovered
				if err := o.ask(c.Context(), "POST", "/cluster/recover?"+q.Encode(), &x); err != nil {
					return err
				}
				if x.Running {
					continue
				}
				for _, t := range x.Tenures {
					escape.Fprintf(c.OutOrStdout(), "partition %s: %d lines of epoch %d are in the archive now\n",
						args[0], t.Lines, t.Epoch)
				}
				if len(x.Tenures) == 0 {
					escape.Fprintf(c.OutOrStdout(), "partition %s: nothing was lost that the stream has\n", args[0])
				}
				return nil
			}
		},
	}
	o.remote.flags(c)
	return c
}

func (o *options) showCluster(ctx context.Context, w io.Writer) error {
	var st cluster.Status
	if err := o.ask(ctx, "GET", "/cluster", &st); err != nil {
		return err
	}
	if o.json {
		return escape.PrintJSON(w, st)
	}
	printCluster(w, &st)
	return nil
}

func printCluster(w io.Writer, st *cluster.Status) {
	escape.Fprintf(w, "cluster %s, as the member %s sees it\n", st.Cluster, st.Member)
	if st.Trouble != "" {
		escape.Fprintf(w, "NOT IN TOUCH: %s\n", st.Trouble)
	}
	for _, p := range st.Peers {
		state := "lives"
		switch {
		case !p.Alive:
			state = "IS SILENT"
		case p.Leaving:
			state = "leaves"
		}
		escape.Fprintf(w, "member %s on %s %s\n", p.ID, p.Host, state)
	}
	for _, p := range st.Partitions {
		lag := "?"
		if p.LagKnown {
			lag = strconv.FormatUint(p.Lag, 10)
		}
		name := p.Owner
		if name == "" {
			name = "none"
		}
		pinned := ""
		if p.Pinned != "" {
			pinned = ", moved to " + p.Pinned + " by hand"
		}
		escape.Fprintf(w, "partition %d: owner=%s host=%s epoch=%d lag=%s%s\n", p.Partition, name, p.Host, p.Epoch, lag,
			pinned)
	}
}

// writeJSON replaces a file.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var d *disk.Disk
	return d.WriteFile(path, append(data, '\n'), 0o640)
}

// ofCluster reports whether a command is about all of a cluster.
func (o *options) ofCluster() bool {
	if o.cluster || o.remote.connect != "" || o.config == "" || o.partition != "" {
		return o.cluster
	}
	s, err := o.load()
	return err == nil && s.Collector.Cluster != nil
}

// chosen are the settings of the log that a command is about.
func (o *options) chosen(s *settings) (*settings, error) {
	t := s.Collector.Cluster
	switch {
	case t == nil && o.partition != "":
		return nil, daemon.Exitf(daemon.ExitUsage, "--partition: the configuration has no [collector.cluster]")
	case t == nil:
		return s, nil
	case o.partition == "":
		return nil, daemon.Exitf(daemon.ExitUsage, "a cluster has a log for each partition: name one with --partition")
	}
	p, err := strconv.Atoi(o.partition)
	if err != nil || p < 0 || p >= t.partitions() {
		return nil, daemon.Exitf(daemon.ExitUsage, "--partition %q: the cluster has the partitions 0 to %d",
			o.partition, t.partitions()-1)
	}
	return s.ofPartition(p), nil
}
