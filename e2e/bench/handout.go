package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanin/e2e/rig"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// handOut sends lines over eight connections while groups of workers take them
// from the same collector. Seconds is until the last line was acknowledged by each
// group, or with ingest until it was in the file.
func (b *bench) handOut(s subject, groups, workers, stalled int, ingest bool) (r sample, err error) {
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	s.command = withWork(s.command, port)
	const conns = 8
	t, err := b.begin(s, conns)
	if err != nil {
		return r, err
	}
	defer t.stop()
	each := b.lines / conns
	var taking []*helper
	for g := range groups {
		h, err := prepare("work", address(port), fmt.Sprintf("group-%d", g), workers, stalled, each*conns)
		if err != nil {
			return r, err
		}
		if err := h.begin(); err != nil {
			return r, err
		}
		taking = append(taking, h)
	}
	h, err := prepare("send", address(t.port), conns, each)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, fmt.Sprintf("work-%d", groups), each*conns)
	cpu, begun := t.cpu(), time.Now()
	if err := h.begin(); err != nil {
		return r, err
	}
	last := t.landed(each*conns, newBlock(0).size(each)*conns)
	for _, h := range taking {
		if err := h.ready(); err != nil {
			return r, fmt.Errorf("worker: %w", err)
		}
	}
	if !ingest {
		last = time.Now()
	}
	r.Seconds = last.Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := h.end(); err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	for _, h := range taking {
		if err := h.begin(); err != nil {
			return r, err
		}
		h.cmd.Wait()
	}
	<-profiled
	return r, t.end(conns, each, &r)
}

type commander func(dir string, port, conns int) (args, env []string, err error)

// withWork adds the table for workers to a configuration.
func withWork(plain commander, port int) commander {
	return withTable(plain, fmt.Sprintf("[collector.work]\nlisten = %q\n", address(port)))
}

// withTable adds tables to the collector's configuration.
func withTable(plain commander, tables string) commander {
	return edited(plain, func(config string) string { return config + tables })
}

// adjusted is a command of fanin with other text in its configuration.
func adjusted(plain commander, old, new string) commander {
	return edited(plain, func(config string) string { return strings.Replace(config, old, new, 1) })
}

// edited is a command of fanin with another configuration.
func edited(plain commander, edit func(config string) string) commander {
	return func(dir string, port, conns int) (args, env []string, err error) {
		if args, env, err = plain(dir, port, conns); err != nil {
			return nil, nil, err
		}
		config, err := os.ReadFile(filepath.Join(dir, "collector.toml"))
		if err != nil {
			return nil, nil, err
		}
		return args, env, write(dir, "collector.toml", edit(string(config)))
	}
}

// stalledCredit is how many lines a stalled worker holds.
const stalledCredit = 1000

// takeLines is a group of workers that acknowledge whole deliveries, until so many
// lines are accepted.
//
// Some more take what they are given and never answer.
func takeLines(address, group string, workers, stalled, lines int) error {
	if err := onWord(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var accepted atomic.Int64
	done := make(chan struct{})
	var all sync.WaitGroup
	if stalled > 0 || workers == 7 { // both of the pair, so that they do the same
		lines -= stalledCredit
	}
	for range stalled {
		w := worker.Worker{Address: address, Options: protocol.Hello{Group: group, From: "start", Credit: stalledCredit},
			Handle: func(ctx context.Context, _ *worker.Delivery) error { <-ctx.Done(); return worker.ErrRelease }}
		all.Go(func() { w.Run(ctx) }) // ends below
	}
	for range workers {
		w := worker.Worker{Address: address, Options: protocol.Hello{Group: group, From: "start", Credit: 20_000},
			Handle: func(context.Context, *worker.Delivery) error { return nil },
			Accepted: func(_ uint64, from, to int) {
				n := int64(to - from)
				if had := accepted.Add(n); had >= int64(lines) && had-n < int64(lines) {
					close(done)
				}
			}}
		all.Go(func() { w.Run(ctx) }) // ends below
	}
	<-done
	err := onWord()
	cancel()
	all.Wait()
	return err
}
