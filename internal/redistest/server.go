// Package redistest runs real Redis servers for tests.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/internal/freeport"
	"fanin/internal/redisconn"
	"fanin/internal/waittest"
)

// Server is a process of redis-server that can be killed, frozen and started again, at the
// same address and with the files that it wrote.
type Server struct {
	t    testing.TB
	dir  string
	port string
	bus  string
	args []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

// New starts a server on a free port of the loopback interface, without persistence unless
// the settings say otherwise: "appendonly yes", "appendfsync always". It ends with the test,
// which is skipped where there is no redis-server.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	s := &Server{t: t, dir: t.TempDir()}
	s.port, s.bus = freePorts(t)
	s.args = append([]string{"port " + s.port, "bind 127.0.0.1", "save \"\"", "dir " + s.dir,
		"unixsocket " + filepath.Join(s.dir, "sock"), "repl-diskless-sync-delay 0"}, settings...)
	if slices.Contains(settings, "cluster-enabled yes") {
		s.args = append(s.args, "cluster-port "+s.bus)
	}
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// freePorts are two free ports: the server's, and that of its Cluster's bus, which would be
// 10,000 above it.
func freePorts(t testing.TB) (port, bus string) {
	t.Helper()
	ports, err := freeport.Find(2)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(ports[0]), strconv.Itoa(ports[1])
}

// Bus is the port of a Cluster's bus, the third argument of CLUSTER MEET.
func (s *Server) Bus() string { return s.bus }

// Set changes settings of the next Start.
func (s *Server) Set(settings ...string) { s.args = append(s.args, settings...) }

// Launch starts the server, for the first time or again, and does not wait until it serves.
func (s *Server) Launch() {
	s.t.Helper()
	if err := RepairAOF(s.dir); err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.dir, "redis.conf")
	if err := os.WriteFile(path, []byte(strings.Join(s.args, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	args := []string{path}
	if s.isSentinel() {
		args = append(args, "--sentinel")
	}
	s.log = new(bytes.Buffer)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// isSentinel reports whether the settings are those of a Sentinel.
func (s *Server) isSentinel() bool {
	return strings.Contains(strings.Join(s.args, "\n"), "sentinel monitor")
}

// Start starts the server, for the first time or again, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.Launch()
	waittest.Until(s.t, "the Redis server at "+s.Addr(), func() bool {
		nc, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err != nil {
			return false
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprint(nc, "PING\r\n")
		reply := make([]byte, 8)
		n, _ := nc.Read(reply)
		return n > 0 && !bytes.HasPrefix(reply, []byte("-LOADIN"))
	})
}

// Kill ends the server as kill -9 does, if it runs.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Stop ends the server in order.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
	s.cmd = nil
}

// Freeze stops the process, which keeps its connections and answers nothing.
func (s *Server) Freeze() { s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.cmd.Process.Signal(syscall.SIGCONT) }

// Addr is where the server listens.
func (s *Server) Addr() string { return "127.0.0.1:" + s.port }

// Port is the number of the server's port.
func (s *Server) Port() string { return s.port }

// URL is the address of the server as the configuration has it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Dir is where the server keeps its files.
func (s *Server) Dir() string { return s.dir }

// Log is what the server printed since it started.
func (s *Server) Log() string { return s.log.String() }

// Client is a client of the server.
func (s *Server) Client() *redisconn.Client {
	return &redisconn.Client{Login: redisconn.Login{URLs: []string{s.URL()}}}
}

// Try does a command on a connection of its own, and returns its reply as redis-cli prints a
// string or an integer, and the elements of a list as lines.
func (s *Server) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := s.Client()
	client.Timeout = time.Minute // a busy machine is no broken one
	c, err := client.Dial(ctx, "")
	if err != nil {
		return "", err
	}
	defer c.Close()
	v, err := c.Do(ctx, args...)
	if err != nil {
		return "", err
	}
	return Text(v), nil
}

// Do is Try for commands that must succeed.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	reply, err := s.Try(args...)
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// Text is a reply as text.
func Text(v redisconn.Value) string {
	if n, ok := v.Int(); ok && !v.IsText() {
		return fmt.Sprint(n)
	}
	if !v.IsList() {
		return v.String()
	}
	var all []string
	for _, e := range v.All() {
		all = append(all, Text(e))
	}
	return strings.Join(all, "\n")
}
