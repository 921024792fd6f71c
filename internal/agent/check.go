package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/machine"
	"fanin/internal/tail"
)

// checkFiles reports the mistakes in the tables of files.
func (s *settings) checkFiles() {
	if len(s.Agent.File) == 0 && s.Agent.Journal == nil && s.Agent.Stdin == nil && len(s.Agent.Unix) == 0 &&
		!s.sends {
		s.file.Problem("agent.file", "nothing to follow: write [[agent.file]] with paths = [\"/var/log/app.log\"], "+
			"[[agent.unix]], [agent.journal] or [agent.stdin]")
	}
	seen := make(map[string]string) // table by path
	for i, f := range s.Agent.File {
		at := s.file.Table(fmt.Sprintf("agent.file[%d]", i))
		if len(f.Paths) == 0 {
			at.Problem("paths", "paths is missing: what to follow, as in paths = [\"/var/log/*.log\"]")
		}
		for _, p := range f.Exclude {
			checkPattern(at, "exclude", p)
		}
		for _, p := range f.Paths {
			checkPattern(at, "paths", p)
			s.checkPath(at, p, f.Exclude, seen)
		}
		if f.From != "" {
			at.OneOf("from", f.From, "start", "end")
		}
		if err := tail.CheckSource(f.Source); err != nil {
			at.Problem("source", "source: %v", err)
		}
		f.textKeys.check(at, s.to.Scheme)
	}
}

// checkPath refuses a path that another table has, and the agent's own state.
func (s *settings) checkPath(at config.Table, p string, exclude []string, seen map[string]string) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return
	}
	if other, ok := seen[abs]; ok && other == at.Path {
		at.Problem("paths", "%q is there twice", p)
	} else if ok {
		at.Problem("paths", "%q is in %s already, which decides how it is followed: remove it from one of them", p,
			other)
	}
	seen[abs] = at.Path
	table := tail.Table{Exclude: exclude}
	if own := s.ownFile(&table, abs); own != "" {
		at.Problem("paths", "%q matches the agent's own state (%s), which changes with each line that is sent: "+
			"exclude it, or move the state", p, own)
	}
	if own := s.collectorFile(&table, abs); own != "" {
		at.Problem("paths", "%q matches the log of the collector in this file (%s), to which the lines are sent: each "+
			"would be logged again; exclude it", p, own)
	}
}

func checkPattern(at config.Table, key, p string) {
	if p == "-" {
		at.Problem(key, "\"-\" (standard input) is no file: write [agent.stdin]")
	} else if err := tail.CheckPattern(p); err != nil {
		at.Problem(key, "%v", err)
	}
}

// stateFiles are what the agent keeps in its state directory.
var stateFiles = []string{"marks", ".marks.new", "marks.damaged", "instance", ".instance.new", "lock", "journal",
	".journal.new"}

// ownFile returns a file of the agent's state that a pattern names, by whatever links it gets
// there.
func (s *settings) ownFile(table *tail.Table, pattern string) string {
	if s.Agent.State == "" {
		return ""
	}
	files := slices.Concat(stateFiles, []string{"spool/x/00000000000000000001.seg", "runs/x/lock", "runs/x/instance",
		"runs/x/spool/00000000000000000001.seg"})
	return table.Reaches(pattern, s.Agent.State, files)
}

// collectorFile returns a file of the collector's log that a pattern names, if the collector's
// table is in the same file, and the lines are sent to this machine.
func (s *settings) collectorFile(table *tail.Table, pattern string) string {
	log := s.file.Foreign("collector", "log", "path")
	if log == "" || !slices.ContainsFunc(s.Agent.To, toThisMachine) {
		return ""
	}
	ext := filepath.Ext(log)
	rotated := strings.TrimSuffix(filepath.Base(log), ext) + "-2026-11-26T00-00-00.000" + ext
	return table.Reaches(pattern, filepath.Dir(log), []string{filepath.Base(log), rotated})
}

// toThisMachine reports whether an address is one of this machine.
func toThisMachine(to string) bool {
	_, addr, err := tables.ParseTo(to)
	if err != nil {
		return false
	}
	host, _, _ := net.SplitHostPort(addr)
	name, _ := os.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || host == name || ip != nil && ip.IsLoopback()
}

// checkPaths refuses, before anything is changed, paths that cannot be used for their
// purpose.
func (s *settings) checkPaths() error {
	state := s.Agent.State
	problems := []error{disk.Directory(state)}
	if socket := filepath.Join(state, controlName); len(socket) > maxSocket {
		problems = append(problems, fmt.Errorf("the control socket %s cannot be opened: the path has %d bytes and "+
			"sockets allow %d; set a shorter agent.state", socket, len(socket), maxSocket))
	}
	for _, name := range stateFiles {
		problems = append(problems, disk.Regular(filepath.Join(state, name)))
	}
	for _, t := range s.files() {
		for _, p := range t.Paths {
			if fi, err := os.Stat(p); err == nil && !fi.Mode().IsRegular() { // few patterns are names too
				problems = append(problems, disk.Regular(p))
			}
		}
	}
	if have := config.Size(machine.Memory()); have > 0 && s.Agent.Memory > have {
		problems = append(problems, fmt.Errorf("agent.memory is %s, and this machine (or the control group) has %s",
			s.Agent.Memory, have))
	}
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// maxSocket is how long the path of a socket may be.
const maxSocket = 107

// checkEnvironment tries everything that the settings name, and prints what it finds. What
// it accepts starts. It changes nothing.
func (s *settings) checkEnvironment(w io.Writer) error {
	if err := errors.Join(append(s.checkHost(w), s.checkNames()...)...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// checkHost is the part of checkEnvironment that needs no network.
func (s *settings) checkHost(w io.Writer) []error {
	problems := []error{s.checkPaths(), s.checkJournalctl(false), s.checkState()}
	if err := disk.Locked(filepath.Join(s.Agent.State, "lock")); err != nil {
		escape.Fprintf(w, "note: an agent is running with the state %s, so what it may hold was not tried: sockets "+
			"and the address of [agent.http] (%v)\n", s.Agent.State, err)
	} else {
		problems = append(problems, s.checkSockets(), s.Agent.HTTP.free())
	}
	problems = append(problems, s.checkFound(w)...)
	return append(problems, s.checkSecrets()...)
}

// mostFound is how many files are tried for one pattern.
const mostFound = 10_000

// checkFound tries the files that exist, and prints what is perhaps not meant.
func (s *settings) checkFound(w io.Writer) (problems []error) {
	first := make(map[string]string)
	for i, t := range s.files() {
		at := fmt.Sprintf("agent.file[%d]", i)
		for _, p := range t.Paths {
			found := 0
			t.Find(p, func(path string) bool {
				problems = append(problems, readable(path))
				if other, ok := first[path]; ok && other != at {
					escape.Fprintf(w, "note: %s is followed as %s sets; %s matches it too\n", path, other, at)
				} else {
					first[path] = at
				}
				if tail.IsLogOfCollector(path) {
					escape.Fprintf(w, "note: %s is a file of a collector's log; it is not followed if its lines are "+
						"sent to that collector\n", path)
				}
				found++
				return found < mostFound
			})
			switch found {
			case 0:
				escape.Fprintf(w, "note: no file matches %s yet\n", p)
			case mostFound:
				escape.Fprintf(w, "note: more than %d files match %s; only these were tried\n", mostFound, p)
			}
		}
	}
	return problems
}

// readable opens a file that would be followed.
func readable(path string) error {
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return nil // it is not followed
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// checkState tries the state directory.
func (s *settings) checkState() error {
	state := s.Agent.State
	problems := []error{disk.Usable(state)}
	for _, name := range stateFiles {
		f, err := os.OpenFile(filepath.Join(state, name), os.O_RDWR, 0)
		if err == nil {
			f.Close()
		} else if errors.Is(err, os.ErrPermission) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// checkNames looks up the collector's names.
func (s *settings) checkNames() (problems []error) {
	for _, addr := range s.to.Addrs {
		host, _, _ := net.SplitHostPort(strings.TrimPrefix(addr, "nats://"))
		if s.to.Scheme == "nats" && host == "" {
			host = strings.TrimPrefix(addr, "nats://") // the port has a default
		}
		if _, err := net.LookupHost(host); err != nil {
			problems = append(problems, fmt.Errorf("collector %s: %w", addr, err))
		}
	}
	return problems
}

// checkSecrets tries certificates and secrets.
func (s *settings) checkSecrets() (problems []error) {
	if t := s.Agent.TLS; t != nil {
		var names []string
		if s.to.Scheme == "tls" && t.Cert != "" {
			names = append(names, s.Agent.ID) // else the collector refuses the agent
		}
		if err := t.Files(nil).CheckClient(time.Now(), names...); err != nil {
			problems = append(problems, fmt.Errorf("agent.tls: %w", err))
		}
	}
	if login := s.login(); login.URL != "" {
		problems = append(problems, login.Check())
	}
	return problems
}
