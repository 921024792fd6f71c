package agent

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/doctor"
	"fanin/internal/escape"
)

func (o *options) doctorCommand() *cobra.Command {
	c := &cobra.Command{Use: "doctor", Args: noArguments,
		Short: "find what is wrong or risky on this host, and say what helps; change nothing",
		Long: `Looks at the host of an agent: the configuration, files that cannot be read, patterns that match
nothing, limits of the kernel and of the process, the file system and the disk of the state,
the clock, certificates, the journal, and whether the collector can be reached. Findings come
first, by severity, each with its remedy.

Run it as the user of the service, or as root. Exit code: 0 nothing is wrong (risks are
printed), 1 something is.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.config == "" {
				return daemon.Exitf(daemon.ExitUsage, "nothing to look at: set --config FILE")
			}
			return o.doctor(c.OutOrStdout())
		}}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// doctor looks at the host, and prints what it finds.
func (o *options) doctor(w io.Writer) error {
	checks := []doctor.Check{{Name: "configuration"}}
	s, err := o.load(nil)
	if err == nil {
		checks = append(checks, s.examination()...)
		err = errors.Join(s.checkHost(io.Discard)...) // names are looked up below
	}
	checks[0].Run = func() []doctor.Finding {
		return doctor.Usable(o.config, "see fanin-agent check", err)
	}
	report := doctor.Run(checks)
	if o.json {
		if err := escape.PrintJSON(w, report); err != nil {
			return err
		}
	} else {
		report.Print(w)
	}
	if n := report.Count(doctor.Wrong); n > 0 {
		return daemon.Exitf(daemon.ExitFailure, "%d findings are wrong", n)
	}
	return nil
}

// examination lists the checks of this host. The configuration's own finds files that cannot be
// read, and a journalctl that is missing or too old.
func (s *settings) examination() []doctor.Check {
	a := &s.Agent
	patterns, count, files, directories := s.matched()
	places := []doctor.Place{{What: "the state", Path: a.State, Key: "agent.state"}}
	return []doctor.Check{
		{Name: "patterns", Run: func() []doctor.Finding {
			return doctor.Patterns(patterns, func(p string) int { return count[p] })
		}},
		{Name: "inotify", Run: func() []doctor.Finding {
			return doctor.Inotify("/", directories, doctor.TryInotify)
		}},
		{Name: "open files", Run: func() []doctor.Finding {
			return doctor.OpenFiles(disk.OpenLimit(), files+ownDescriptors, "this shell (a service has its own)",
				"raise LimitNOFILE= of the service (ulimit -n)")
		}},
		{Name: "file systems", Run: func() []doctor.Finding { return doctor.Volatile(places, doctor.FileSystem) }},
		{Name: "sync", Run: func() []doctor.Finding {
			dir := doctor.Present(a.State)
			times, err := disk.MeasureSync(dir, 9)
			return doctor.Syncs(dir, times, err)
		}},
		{Name: "clock", Run: func() []doctor.Finding { return doctor.Clock(doctor.ReadClock()) }},
		{Name: "owner", Run: func() []doctor.Finding { return doctor.Owner(a.State, doctor.User) }},
		{Name: "modes", Run: func() []doctor.Finding { return doctor.Modes(s.guarded()) }},
		{Name: "certificates", Run: func() []doctor.Finding { return doctor.Expiry(time.Now(), s.certificates()) }},
		{Name: "collector", Run: func() []doctor.Finding { return doctor.Reach(s.to.Addrs, resolve, s.dial) }},
	}
}

// ownDescriptors are those for the state, connections and the control socket.
const ownDescriptors = 32

// matched looks for what the patterns match, at most mostFound files of each.
func (s *settings) matched() (patterns []string, count map[string]int, files, directories int) {
	count = make(map[string]int)
	all, dirs := make(map[string]bool), make(map[string]bool)
	for _, t := range s.files() {
		for _, p := range t.Paths {
			patterns = append(patterns, p)
			found := 0
			t.Find(p, func(path string) bool {
				found++
				all[path], dirs[filepath.Dir(path)] = true, true
				return found < mostFound
			})
			count[p] = found
		}
	}
	return patterns, count, len(all), len(dirs)
}

func (s *settings) guarded() []doctor.Guarded {
	list := []doctor.Guarded{{Path: s.Agent.State, Secret: true}}
	if t := s.Agent.TLS; t != nil && t.Key != "" {
		list = append(list, doctor.Guarded{Path: t.Key, Secret: true})
	}
	return list
}

// certificates are those of the agent. One that cannot be used is the configuration's.
func (s *settings) certificates() (list []doctor.Certificate) {
	t := s.Agent.TLS
	if t == nil {
		return nil
	}
	for _, path := range []string{t.Cert, t.CA} {
		if c, err := certs.Leaf(path); err == nil {
			list = append(list, doctor.Certificate{Where: path, Since: c.NotBefore, Until: c.NotAfter})
		}
	}
	return list
}

// reachTime is how long a collector may take to answer.
const reachTime = 5 * time.Second

// hostPort is the address to dial.
func hostPort(addr string) (host, dial string) {
	addr = strings.TrimPrefix(addr, "nats://")
	host, _, err := net.SplitHostPort(addr)
	if err != nil { // the port of NATS has a default
		return addr, net.JoinHostPort(addr, "4222")
	}
	return host, addr
}

func resolve(addr string) error {
	host, _ := hostPort(addr)
	_, err := net.LookupHost(host)
	return err
}

// dial connects to a collector, and shakes hands if the connection is encrypted. Over UDP there
// is no answer to wait for.
func (s *settings) dial(addr string) error {
	if s.to.Scheme == "udp" {
		return nil
	}
	host, to := hostPort(addr)
	conn, err := net.DialTimeout("tcp", to, reachTime)
	if err != nil {
		return err
	}
	defer conn.Close()
	if s.to.Scheme != "tls" {
		return nil
	}
	files := s.Agent.TLS.Files(nil)
	config, err := files.Client()
	if err != nil {
		return err
	}
	own := config().Clone()
	own.ServerName = cmp.Or(own.ServerName, host)
	conn.SetDeadline(time.Now().Add(reachTime))
	secure := tls.Client(conn, own)
	if err := secure.Handshake(); err != nil {
		return files.ExplainClient(err)
	}
	// A certificate that the collector refuses shows only when something is read.
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := secure.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return files.ExplainClient(err)
	}
	return nil
}
