package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fanin/e2e/rig"
	"fanin/e2e/scenario"
)

// crowd is the mode "crowd": a day of many agents, see scenario.Crowd.
func crowd(args []string) error {
	c := &scenario.Crowd{Resume: true, Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	flags := flag.NewFlagSet("crowd", flag.ExitOnError)
	flags.IntVar(&c.Agents, "agents", 1000, "agents, each with a connection of its own")
	flags.Float64Var(&c.Least, "rate", 20, "lines a second of each")
	flags.Float64Var(&c.Most, "most", 0, "agents have rates from -rate to this, evenly; 0: all have -rate")
	flags.IntVar(&c.Burst, "burst", 40, "lines at a time of each tenth agent; 1: none has bursts")
	flags.Float64Var(&c.Restarts, "restarts", 0.01, "share of the agents that start anew each second")
	flags.DurationVar(&c.For, "for", time.Minute, "steady part, before the first kill -9 of the collector")
	flags.IntVar(&c.Kills, "kills", 1, "kills of the collector")
	flags.StringVar(&c.Sync, "sync", "commit", "sync of the log: commit, none")
	flags.BoolVar(&c.TLS, "tls", false, "TLS, with a certificate of each agent")
	flags.BoolVar(&c.Resume, "resume", true, "with -tls: agents resume their TLS sessions")
	flags.BoolVar(&c.Split, "split", false, "the collector on one processor, the agents on another")
	flags.StringVar(&c.InFlight, "in-flight", "24MiB", "max_in_flight of the collector")
	keep := flags.String("keep", "4GiB", "how much of the log to keep")
	dir := flags.String("dir", filepath.Join(rig.Root(), "build", "bench"), "directory for all files: its file system is measured")
	program := flags.String("collector", "", "this collector, not the one that is here")
	report := flags.String("report", "", "write the figures to this file as JSON, too")
	flags.Parse(args)
	c.Most = max(c.Most, c.Least)
	c.Table = fmt.Sprintf("rotate_size = \"1GiB\"\nkeep_bytes = %q\n", *keep)
	if err := os.MkdirAll(*dir, 0o750); err != nil {
		return err
	}
	p := &scenario.Programs{Dir: *dir, Collector: *program}
	if *program == "" {
		var err error
		if p.Collector, p.Agent, err = rig.Build(*dir); err != nil {
			return err
		}
	}
	r, err := p.Crowd(c)
	if r == nil {
		return err
	}
	fmt.Println(r)
	if *report == "" || err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(*report, text, 0o644)
}
