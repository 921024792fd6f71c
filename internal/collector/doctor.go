package collector

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanin/ingest/datagram"
	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/doctor"
	"fanin/internal/escape"
	"fanin/sink"
)

func (o *options) doctorCommand() *cobra.Command {
	c := o.jsonFlag(o.command("doctor", "find what is wrong or risky on this host, and say what helps; change nothing",
		func(ctx context.Context, c *cobra.Command) error {
			if o.config == "" && o.out == "" {
				return daemon.Exitf(daemon.ExitUsage, "nothing to look at: set --config FILE or --out FILE")
			}
			return o.doctor(ctx, c.OutOrStdout())
		}))
	c.Long = `Looks at the host of a collector: limits of the kernel and of the process, the disk, the
clock, file systems, ports, certificates, modes and owners of files, and what else rotates the
log. A running collector is asked too. Findings come first, by severity, each with its remedy.

Run it as the user of the service, or as root. Exit code: 0 nothing is wrong (risks are
printed), 1 something is.`
	return c
}

// doctor looks at the host, and prints what it finds.
func (o *options) doctor(ctx context.Context, w io.Writer) error {
	s, err := o.load()
	if err == nil && o.partition != "" {
		if s, err = o.chosen(s); err != nil {
			return err
		}
	}
	var report doctor.Report
	if err != nil {
		report = doctor.Run([]doctor.Check{{Name: "configuration", Run: func() []doctor.Finding {
			return doctor.Usable(o.config, "correct it; try: fanin-collector check", err)
		}}})
	} else {
		report = doctor.Run(s.examination(ctx, o.config))
	}
	if o.json {
		err = escape.PrintJSON(w, report)
	} else {
		report.Print(w)
		err = nil
	}
	if n := report.Count(doctor.Wrong); err == nil && n > 0 {
		err = daemon.Exitf(daemon.ExitFailure, "%d findings are wrong", n)
	}
	return err
}

// examination lists the checks of this host; file is the configuration.
func (s *settings) examination(ctx context.Context, file string) []doctor.Check {
	var st status
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	running := ask(asking, s.state(), "GET", "/status", &st)
	cancel()
	l := &s.Collector.Log
	places := []doctor.Place{{What: "the state", Path: s.state(), Key: "collector.state"},
		{What: "the log", Path: filepath.Dir(l.Path), Key: "collector.log.path"}}
	return []doctor.Check{
		{Name: "configuration", Run: func() []doctor.Finding {
			return doctor.Usable(cmp.Or(file, l.Path), "", s.valid(ctx, running == nil))
		}},
		{Name: "collector", Run: func() []doctor.Finding { return examineAnswer(&st, running) }},
		{Name: "file systems", Run: func() []doctor.Finding { return doctor.Volatile(places, doctor.FileSystem) }},
		{Name: "sync", Run: func() []doctor.Finding {
			dir := doctor.Present(s.state())
			times, err := disk.MeasureSync(dir, 9)
			return doctor.Syncs(dir, times, err)
		}},
		{Name: "space", Run: s.examineSpace},
		{Name: "clock", Run: func() []doctor.Finding { return doctor.Clock(doctor.ReadClock()) }},
		{Name: "receive buffers", Run: func() []doctor.Finding { return doctor.ReceiveBuffer("/", s.buffers()) }},
		{Name: "open files", Run: func() []doctor.Finding { return s.examineLimit(st.PID) }},
		{Name: "ports", Run: func() []doctor.Finding { return doctor.Plain(s.listeners()) }},
		{Name: "certificates", Run: func() []doctor.Finding { return doctor.Expiry(time.Now(), s.certificates()) }},
		{Name: "modes", Run: func() []doctor.Finding { return doctor.Modes(s.guarded(file)) }},
		{Name: "owner", Run: func() []doctor.Finding { return doctor.Owner(s.state(), doctor.User) }},
		{Name: "other rotation", Run: func() []doctor.Finding { return doctor.Rotators("/", absolute(l.Path)) }},
		{Name: "groups", Run: func() []doctor.Finding { return doctor.Behind(s.behind(&st)) }},
	}
}

// valid is what check says, without what a running collector holds.
func (s *settings) valid(ctx context.Context, running bool) error {
	problems := []error{s.checkMisgrants()}
	if running {
		problems = append(append(problems, s.checkMachine()), s.checkFiles()...)
	} else {
		problems = append(problems, s.checkEnvironment(ctx))
	}
	return errors.Join(problems...)
}

// examineAnswer judges the answer to status.
func examineAnswer(st *status, err error) []doctor.Finding {
	switch {
	case errors.Is(err, errNotRunning):
		return []doctor.Finding{{Level: doctor.OK, What: "not running"}}
	case err != nil:
		return doctor.Usable("collector", "see its log", err)
	case !st.Sink.Healthy:
		return doctor.Usable("collector", "", errors.New("it takes no lines: "+st.Sink.Trouble))
	}
	return []doctor.Finding{{Level: doctor.OK, What: "running"}}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// examineSpace compares the disk of the log with keep_bytes.
func (s *settings) examineSpace() []doctor.Finding {
	l := &s.Collector.Log
	before, _, ofCluster := strings.Cut(l.Path, partitionMark)
	var room doctor.Room
	if t := s.Collector.Cluster; t != nil && ofCluster {
		for p := range t.partitions() {
			room.Used += s.ofPartition(p).spaceUsed()
		}
	} else {
		room.Used = s.spaceUsed()
	}
	var err error
	dir := filepath.Dir(before)
	room.Free, err = doctor.Free(dir)
	return doctor.Space(dir, room, err, orOff(int64(l.KeepBytes)))
}

// spaceUsed is the size of all files of the log. One that is not there yet uses nothing.
func (s *settings) spaceUsed() (bytes int64) {
	dir := filepath.Dir(s.Collector.Log.Path)
	list, _ := sink.Generations(s.Collector.Log.Path, s.state())
	for _, g := range list {
		if fi, err := os.Stat(filepath.Join(dir, g.Name)); err == nil && g.Name != "" {
			bytes += fi.Size()
		}
	}
	return bytes
}

// buffers are the receive buffers of all sockets for datagrams.
func (s *settings) buffers() (list []doctor.Want) {
	for _, p := range s.ports() {
		if p.network == "udp" {
			n := cmp.Or(config.OrZero(p.buffer), datagram.DefaultReadBuffer)
			list = append(list, doctor.Want{Where: p.at + ".read_buffer", N: int64(n)})
		}
	}
	return list
}

// examineLimit judges the limit of the running collector; pid 0: of this process.
func (s *settings) examineLimit(pid int) []doctor.Finding {
	limit, whose := disk.OpenLimit(), "this shell (a service has its own)"
	if pid != 0 {
		if n, err := doctor.ProcessLimit("/", pid); err == nil {
			limit, whose = n, "the running collector"
		}
	}
	want := s.ownDescriptors() + sum(s.shares(limit).all)
	return doctor.OpenFiles(limit, want, whose, "raise LimitNOFILE= of the service (ulimit -n), or lower max_conns, "+
		"max_watchers and max_workers")
}

func (s *settings) listeners() (list []doctor.Listener) {
	for _, p := range s.ports() {
		if _, ok := systemdName(p.listen); !ok { // its address is systemd's
			list = append(list, doctor.Listener{Where: p.path(), Network: p.network, Address: p.listen,
				TLS: p.tls != nil})
		}
	}
	return list
}

// certificates are those of the listeners. One that cannot be used is the configuration's.
func (s *settings) certificates() (list []doctor.Certificate) {
	for _, p := range s.ports() {
		if p.tls == nil {
			continue
		}
		for _, path := range []string{p.tls.Cert, p.tls.ClientCA} {
			if c, err := certs.Leaf(path); err == nil {
				list = append(list, doctor.Certificate{Where: path, Since: c.NotBefore, Until: c.NotAfter})
			}
		}
	}
	return list
}

// guarded are the files that not every user may read or write.
func (s *settings) guarded(file string) []doctor.Guarded {
	state := s.state()
	list := []doctor.Guarded{{Path: state, Secret: true}, {Path: filepath.Join(state, sessionKeyName), Secret: true},
		{Path: filepath.Join(state, "pki"), Secret: true},
		{Path: filepath.Join(state, "pki/authority.pem"), Secret: true},
		{Path: filepath.Join(state, "pki/server.pem"), Secret: true}, {Path: s.Collector.Log.Path},
		{Path: filepath.Dir(s.Collector.Log.Path)}}
	if file != "" {
		list = append(list, doctor.Guarded{Path: file})
	}
	for _, p := range s.ports() {
		if p.tls != nil {
			list = append(list, doctor.Guarded{Path: p.tls.Key, Secret: true})
		}
	}
	for _, t := range s.Collector.Access {
		if t.TokensFile != "" {
			list = append(list, doctor.Guarded{Path: t.TokensFile, Secret: true})
		}
	}
	return list
}

// behind is how far groups are behind, and what is kept for them.
func (s *settings) behind(st *status) (list []doctor.Group, kept doctor.Kept) {
	for _, g := range st.Groups {
		list = append(list, doctor.Group{Name: g.Group, Bytes: g.LagBytes, Expired: g.Expired,
			Age: time.Duration(g.LagSeconds * float64(time.Second))})
	}
	r := s.policies().Retention
	kept = doctor.Kept{Bytes: r.Bytes, Age: r.Age}
	if r.HoldBytes > 0 { // files are kept beyond the others' bounds
		kept = doctor.Kept{Bytes: max(r.Bytes, r.HoldBytes), Age: r.HoldAge}
	}
	return list, kept
}
