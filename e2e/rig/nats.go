package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fanin/internal/freeport"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS is a cluster of nats-server processes with JetStream on the loopback
// interface; or a single server.
type NATS struct {
	Servers []*Process
	URL     string    // of all of them
	Routes  [][]*Cuts // the network from one server to another, if it can be cut; nil: to itself

	dir    string
	stores []string
}

// BuildNATS builds the server that the tests link, as a program.
func BuildNATS(dir string) (program string, err error) {
	program = filepath.Join(dir, "nats-server")
	c := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2")
	c.Dir = Root()
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return program, nil
}

// NewNATS makes a cluster of this many servers, which keep everything in dir.
// More lines go into the configuration of each.
func NewNATS(program, dir string, servers int, more string) (*NATS, error) {
	ports, err := freeport.Find(2 * servers)
	if err != nil {
		return nil, err
	}
	n := &NATS{dir: dir}
	var routes []string
	for _, port := range ports[servers:] {
		routes = append(routes, hostPort(port))
	}
	return n, n.configure(program, ports, more, func(int) []string { return routes })
}

// NewSplitNATS is NewNATS with a network between each two servers that can be cut. The servers tell
// nothing of a way past it, neither each other nor clients.
func NewSplitNATS(program, dir string, servers int) (*NATS, error) {
	ports, err := freeport.Find(2 * servers)
	if err != nil {
		return nil, err
	}
	n := &NATS{dir: dir}
	for i := range servers {
		cuts := make([]*Cuts, servers)
		for j := range servers {
			if i == j {
				continue
			}
			if cuts[j], err = NewCuts(hostPort(ports[servers+j])); err != nil {
				return nil, err
			}
		}
		n.Routes = append(n.Routes, cuts)
	}
	return n, n.configure(program, ports, "", func(i int) (routes []string) {
		for _, c := range n.Routes[i] {
			if c != nil {
				routes = append(routes, c.Addr)
			}
		}
		return routes
	})
}

func hostPort(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// nowhere is advertised in place of an address that is to be reached over a network of ours alone.
const nowhere = "127.0.0.1:1"

// configure writes the configurations of the servers. The first half of the ports is for clients, the
// second one for the other servers. routes are where a server reaches these.
func (n *NATS) configure(program string, ports []int, more string, routes func(server int) []string) error {
	servers := len(ports) / 2
	var urls []string
	for i := range servers {
		urls = append(urls, "nats://"+hostPort(ports[i]))
		store := filepath.Join(n.dir, fmt.Sprintf("store%d", i+1))
		text := fmt.Sprintf("listen: %q\nserver_name: n%d\njetstream {store_dir: %q}\n%s\n", hostPort(ports[i]), i+1, store, more)
		if servers > 1 {
			var peers []string
			for _, r := range routes(i) {
				peers = append(peers, fmt.Sprintf("%q", "nats://"+r))
			}
			text += fmt.Sprintf("cluster {name: fanin, listen: %q, routes: [%s]", hostPort(ports[servers+i]), strings.Join(peers, ", "))
			if n.Routes != nil {
				text += fmt.Sprintf(", no_advertise: true, advertise: %q", nowhere)
			}
			text += "}\n"
		}
		config := filepath.Join(n.dir, fmt.Sprintf("nats%d.conf", i+1))
		if err := errors.Join(os.MkdirAll(n.dir, 0o750), os.WriteFile(config, []byte(text), 0o640)); err != nil {
			return err
		}
		n.stores = append(n.stores, store)
		n.Servers = append(n.Servers, &Process{Path: program, Args: []string{"-c", config}})
	}
	n.URL = strings.Join(urls, ",")
	return nil
}

// Start starts all servers and waits until JetStream takes something.
func (n *NATS) Start() error {
	for _, s := range n.Servers {
		if err := s.Start(); err != nil {
			return err
		}
	}
	return n.Ready(30 * time.Second)
}

// Ready waits until JetStream answers.
func (n *NATS) Ready(patience time.Duration) error {
	nc, err := n.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	for end := time.Now().Add(patience); err == nil; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, aerr := js.AccountInfo(ctx)
		cancel()
		if aerr == nil {
			return nil
		}
		if time.Now().After(end) {
			err = fmt.Errorf("JetStream does not answer: %w\n%s", aerr, n.Servers[0].Output())
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// Connect is a client of the cluster, which comes back by itself.
func (n *NATS) Connect() (*nats.Conn, error) {
	return nats.Connect(n.URL, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.Timeout(time.Second))
}

// Wipe deletes what a server that does not run has stored.
func (n *NATS) Wipe(server int) error { return os.RemoveAll(n.stores[server]) }

// Kill kills all servers.
func (n *NATS) Kill() {
	for _, s := range n.Servers {
		s.Kill()
	}
	for _, routes := range n.Routes {
		for _, c := range routes {
			if c != nil {
				c.Close()
			}
		}
	}
}
