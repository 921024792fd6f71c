package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/access"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/machine"
	"fanin/sink/distribute"
)

// checkMachine refuses what this machine does not have.
func (s *settings) checkMachine() error {
	have := config.Size(machine.Memory())
	if have == 0 {
		return nil
	}
	var problems []error
	want := func(key string, n config.Size) {
		if n > have {
			problems = append(problems, fmt.Errorf("%s is %s, and this machine (or the control group) has %s of memory",
				key, n, have))
		}
	}
	want("collector.max_in_flight", s.Collector.MaxInFlight)
	for _, x := range s.Collector.Inputs {
		for _, m := range x.table.needs().memory {
			want(x.at+"."+m.key, config.OrZero(m.size))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// readSecrets refuses keys and secrets that cannot be read, before anything opens.
func (s *settings) readSecrets() error {
	var problems []error
	for _, x := range s.Collector.Inputs {
		if read := x.table.needs().secrets; read != nil {
			problems = append(problems, prefix(x.at, read()))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// checkEnvironment tries everything that the settings name: memory, paths, certificates,
// ports. What it accepts starts. It changes nothing.
func (s *settings) checkEnvironment(ctx context.Context) error {
	of := s
	if s.Collector.Cluster != nil {
		of = s.ofPartition(0) // the others are like it
	}
	problems := []error{s.checkMachine(), cmp.Or(of.sink().Check(ctx), s.checkState())}
	problems = append(problems, s.checkFiles()...)
	problems = append(problems, s.tryPorts()...)
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// checkFiles is the part of checkEnvironment that can be tried while a collector has the log and
// the ports.
func (s *settings) checkFiles() (problems []error) {
	for _, p := range s.ports() {
		if p.tls != nil {
			problems = append(problems, prefix(p.at+".tls", p.tls.Files(nil).CheckServer(time.Now(), p.names()...)))
		}
	}
	for _, x := range s.Collector.Inputs {
		if files := x.table.needs().files; files != nil {
			problems = append(problems, prefix(x.at, files()))
		}
	}
	if t := s.Collector.Cluster; t != nil {
		problems = append(problems, prefix("collector.cluster", t.nats().tryFiles()))
	}
	if r := s.Collector.Relay; r != nil {
		problems = append(problems, prefix("collector.relay", r.tryFiles()))
	}
	if a := s.Collector.Archive; a != nil {
		problems = append(problems, prefix("collector.archive", a.tryFiles()))
	}
	return append(problems, prefix("collector.access", access.Check(s.accessRules())))
}

func prefix(at string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", at, err)
}

// checkState refuses what keeps the rest of the state directory from being used.
func (s *settings) checkState() error {
	socket := filepath.Join(s.state(), controlName)
	if err := fitsSocket(socket); err != nil {
		return err
	}
	if fi, err := os.Lstat(socket); err == nil && fi.IsDir() {
		return &disk.KindError{Path: socket, Is: "a directory", Want: "free for the control socket"}
	}
	return distribute.CheckState(s.state())
}

// maxSocket is how long the path of a socket may be.
const maxSocket = 107

func fitsSocket(path string) error {
	if len(path) > maxSocket {
		return fmt.Errorf("the control socket %s cannot be opened: the path has %d bytes and sockets allow %d; set "+
			"a shorter collector.state", path, len(path), maxSocket)
	}
	return nil
}
