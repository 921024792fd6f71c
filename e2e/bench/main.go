// Command bench measures fanin beside a bare copy, socat, rsyslog and syslog-ng:
// the same lines, the same file system, in turns.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fanin/e2e/rig"
)

// bench is the whole undertaking.
type bench struct {
	lines, runs      int
	quick            bool
	only, work       string
	conns            []int
	dir, out, pprof  string
	figure           string
	sizes            []int
	collector, agent string
	natsServer       string // built when it is needed
	peers            *peers
	noPeers          bool // they cannot be had here
	results          results
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "-role" {
		if err := role(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	do := run
	if len(os.Args) > 1 && os.Args[1] == "crowd" {
		do = func() error { return crowd(os.Args[2:]) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() (err error) {
	b := &bench{}
	flag.IntVar(&b.lines, "lines", 8_000_000, "lines in all, for each trial")
	flag.IntVar(&b.runs, "runs", 5, "rounds; each subject has one trial in a round, and the medians count")
	flag.BoolVar(&b.quick, "quick", false, "2,000,000 lines, one round")
	flag.StringVar(&b.only, "only", "", "only these subjects, by the beginning of their names: fanin,copy,socat,rsyslog,syslog-ng")
	flag.StringVar(&b.work, "work", "", "only these measurements: tcp,chain,relay,link,latency,udp,syslog,layouts,gelf,idle,work,nats,cluster,redis,zmq,relp,sources,waits,cost,search,disk; "+
		"these are left out unless they are named: backlog, which writes 20 GiB, and crowd, which takes 20 minutes a round and 11,000 descriptors")
	sizes := flag.String("sizes", "1e6,1e7,1e8", "for -work cost: how many lines; 1e9 takes minutes for each number of connections")
	flag.StringVar(&b.figure, "figure", "", "write the figure of -work cost to this file (default: docs/cost.svg, if the tables go to docs/benchmarks.md)")
	conns := flag.String("conns", "1,8,64", "numbers of plain TCP connections")
	flag.StringVar(&b.pprof, "profile", "", "write CPU profiles of the collector to this directory")
	flag.StringVar(&b.dir, "dir", filepath.Join(rig.Root(), "build", "bench"), "directory for all files: its file system is measured")
	flag.StringVar(&b.out, "write", "", "write the tables to this file (default: docs/benchmarks.md, if everything was measured)")
	flag.Parse()
	if b.quick {
		b.defaults(2_000_000, 1)
	}
	for c := range strings.SplitSeq(*conns, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 || n > 99 {
			return fmt.Errorf("-conns: %q is not a number from 1 to 99", c)
		}
		b.conns = append(b.conns, n)
	}
	if b.out == "" && !b.quick && b.only == "" && b.work == "" {
		b.out = filepath.Join(rig.Root(), "docs", "benchmarks.md")
	}
	if b.sizes, err = wholeNumbers(*sizes); err != nil {
		return fmt.Errorf("-sizes: %w", err)
	}
	if b.out != "" && b.figure == "" {
		b.figure = filepath.Join(filepath.Dir(b.out), figureName)
	}
	if err := b.prepare(); err != nil {
		return err
	}
	defer b.tidy()
	if err := b.measure(); err != nil {
		return err
	}
	return b.report()
}

// defaults sets what no flag did.
func (b *bench) defaults(lines, runs int) {
	set := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if !set["lines"] {
		b.lines = lines
	}
	if !set["runs"] {
		b.runs = runs
	}
}

func (b *bench) prepare() (err error) {
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return err
	}
	if b.collector, b.agent, err = rig.Build(b.dir); err != nil {
		return err
	}
	for _, s := range b.subjects() {
		if s.peer {
			if b.peers, err = unpack(peersDir()); err != nil {
				b.noPeers = true
				fmt.Fprintf(os.Stderr, "rsyslog and syslog-ng are left out, since Debian's packages cannot be had: %v\n", err)
			}
			return nil
		}
	}
	return nil
}

// workload is one kind of measurement, for the subjects that it is for.
type workload struct {
	kind, name string
	fits       func(subject) bool
	measure    func(subject) (sample, error)
	subjects   []subject // nil: those of all
}

func (b *bench) workloads() (list []workload) {
	add := func(kind, name string, fits func(subject) bool, measure func(subject) (sample, error)) {
		if b.work == "" || strings.Contains(","+b.work+",", ","+kind+",") {
			list = append(list, workload{kind, name, fits, measure, nil})
		}
	}
	everyone := func(subject) bool { return true }
	seconds, paced := 10, 1_000_000
	if b.quick {
		seconds, paced = 3, 400_000
	}
	for _, n := range b.conns {
		add("tcp", fmt.Sprintf("tcp %d", n), everyone,
			func(s subject) (sample, error) { return b.plainTCP(s, n) })
	}
	add("chain", "chain", func(s subject) bool { return s.chain > 0 }, b.chain)
	add("relay", relayed, func(s subject) bool { return s.ours }, b.relay)
	add("latency", "latency", everyone,
		func(s subject) (sample, error) { return b.latency(s, seconds, false) })
	add("latency", "latency by agent", func(s subject) bool { return s.chain > 0 },
		func(s subject) (sample, error) { return b.latency(s, seconds, true) })
	add("udp", "udp 200k/s", func(s subject) bool { return s.udp },
		func(s subject) (sample, error) { return b.datagrams(s, paced, 200_000) })
	add("udp", "udp burst", func(s subject) bool { return s.udp },
		func(s subject) (sample, error) { return b.datagrams(s, 500_000, 0) })
	b.syslogs(add, paced)
	none := func(s subject) bool { return s.name == "fanin-none" }
	for _, name := range layoutNames {
		add("layouts", layoutWorkload(name), none, func(s subject) (sample, error) { return b.inLayout(s, name) })
	}
	add("gelf", "gelf udp 100k/s", none, func(s subject) (sample, error) { return b.gelf(s, paced/2) })
	add("idle", "idle 1000", func(s subject) bool { return s.idle },
		func(s subject) (sample, error) { return b.idle(s, 1000) })
	ours := func(s subject) bool { return s.ours }
	for _, groups := range []int{0, 1, 4} {
		add("work", fmt.Sprintf("ingest, %d groups", groups), ours,
			func(s subject) (sample, error) { return b.handOut(s, groups, 4, 0, true) })
	}
	add("work", "hand out", ours, func(s subject) (sample, error) { return b.handOut(s, 1, 4, 0, false) })
	add("work", "7 workers", none, func(s subject) (sample, error) { return b.handOut(s, 1, 7, 0, false) })
	add("work", "8, one stalled", none, func(s subject) (sample, error) { return b.handOut(s, 1, 7, 1, false) })
	if q := b.queues(); len(q) > 0 && (b.only == "" || b.only == "queue") {
		n := len(list)
		add("work", "hand out", everyone, b.queue)
		for i := n; i < len(list); i++ {
			list[i].subjects = q
		}
	}
	add("search", "search", none, b.search)
	list = append(list, b.foreign()...)
	if b.work != "" {
		add("backlog", "backlog", none, b.backlog)
	}
	if strings.Contains(","+b.work+",", ",crowd,") {
		list = append(list, b.crowdWorkloads()...)
	}
	return list
}

// syslogs are the measurements of messages of syslog.
func (b *bench) syslogs(add func(kind, name string, fits func(subject) bool, measure func(subject) (sample, error)), paced int) {
	for _, form := range []string{"3164", "5424"} {
		add("syslog", "syslog "+form, parses, func(s subject) (sample, error) {
			return b.overTCP(b.parsing(s), 8, syslogBlock(form), "syslog", "syslog-"+form, form)
		})
	}
	add("syslog", "syslog udp 200k/s", parses, func(s subject) (sample, error) {
		return b.asDatagrams(b.parsing(s), paced, 200_000, syslogBlock("3164")(0), "syslog-datagrams", "3164")
	})
}

// foreign are the measurements over other programs' protocols, and of an agent's sources.
func (b *bench) foreign() (list []workload) {
	for _, f := range []struct {
		kind      string
		workloads func() []workload
	}{{"nats", b.natsWorkloads}, {"cluster", b.clusterWorkloads}, {"redis", b.redisWorkloads}, {"zmq", b.zmqWorkloads}, {"relp", b.relpWorkloads}, {"link", b.linkWorkloads}, {"sources", b.sourcesWorkloads},
		{"waits", b.waitsWorkloads}, {"cost", b.costWorkloads}} {
		if (b.work == "" && b.only == "") || strings.Contains(","+b.work+",", ","+f.kind+",") {
			list = append(list, f.workloads()...)
		}
	}
	for i := range list {
		list[i].subjects = slices.DeleteFunc(list[i].subjects, func(s subject) bool { return !b.chosen(s) })
	}
	return list
}

// measure gives every subject its turn in every round.
func (b *bench) measure() error {
	if err := b.warmUp(); err != nil {
		return err
	}
	workloads := b.workloads()
	for round := range b.runs {
		if b.work == "" && b.only == "" || strings.Contains(b.work, "disk") {
			if err := b.measureDisk(); err != nil {
				return err
			}
		}
		for _, w := range workloads {
			subjects := w.subjects
			if subjects == nil {
				subjects = b.subjects()
			}
			for _, s := range subjects {
				if !w.fits(s) {
					continue
				}
				if err := b.ready(); err != nil {
					return err
				}
				r, err := w.measure(s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, s.name, err)
				}
				b.results.add(w.name, s.name, r)
				fmt.Printf("%d %-17s %-13s %s\n", round+1, w.name, s.name, r.line(w.kind))
			}
		}
	}
	return nil
}

// warmUp makes the machine touch the memory that files will lie in: the first time
// is many times slower, and would be the first subject's.
func (b *bench) warmUp() error {
	for _, s := range []subject{{name: "copy", command: b.copy}, {name: "fanin-none", ours: true, command: b.fanin("none")}} {
		r, err := b.plainTCP(s, 1)
		if err != nil {
			return fmt.Errorf("warming up, %s: %w", s.name, err)
		}
		fmt.Printf("- %-17s %-13s %s\n", "warming up", s.name, r.line("tcp"))
	}
	return nil
}

// tidy removes what trials leave behind.
func (b *bench) tidy() {
	os.RemoveAll(filepath.Join(b.dir, "trial"))
	sources, _ := filepath.Glob(filepath.Join(b.dir, "in-*.log"))
	journals, _ := filepath.Glob(filepath.Join(b.dir, "journal-*"))
	kept, _ := filepath.Glob(filepath.Join(b.dir, "kept-*"))
	for _, s := range slices.Concat(sources, journals, kept) {
		os.RemoveAll(s)
	}
}
