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
	URL     string // of all of them

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
	n := &NATS{dir: dir}
	ports, err := freeport.Find(2 * servers)
	if err != nil {
		return nil, err
	}
	ports, routes := ports[:servers], ports[servers:]
	var urls, peers []string
	for i := range servers {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		peers = append(peers, fmt.Sprintf("\"nats://127.0.0.1:%d\"", routes[i]))
	}
	n.URL = strings.Join(urls, ",")
	for i := range servers {
		store := filepath.Join(dir, fmt.Sprintf("store%d", i+1))
		text := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nserver_name: n%d\njetstream {store_dir: %q}\n%s\n", ports[i], i+1, store, more)
		if servers > 1 {
			text += fmt.Sprintf("cluster {name: fanin, listen: \"127.0.0.1:%d\", routes: [%s]}\n", routes[i], strings.Join(peers, ", "))
		}
		config := filepath.Join(dir, fmt.Sprintf("nats%d.conf", i+1))
		if err := errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(config, []byte(text), 0o640)); err != nil {
			return nil, err
		}
		n.stores = append(n.stores, store)
		n.Servers = append(n.Servers, &Process{Path: program, Args: []string{"-c", config}})
	}
	return n, nil
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
}
