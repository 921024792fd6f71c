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
	"fanin/internal/redisconn"
	"fanin/internal/redistest"
)

// ErrNoRedis says that there is no redis-server.
var ErrNoRedis = errors.New("redis-server is not installed: make setup")

// Redis is a redis-server on the loopback interface. It has the address that it got at its
// first start for all its lives, and keeps what it has in a directory.
type Redis struct {
	Process
	URL string
	dir string
}

// NewRedis makes a server. The settings are lines of its configuration, such as
// "appendfsync always".
func NewRedis(dir string, settings ...string) (*Redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNoRedis
	}
	port, err := freeport.One()
	if err != nil {
		return nil, err
	}
	lines := append([]string{"bind 127.0.0.1", fmt.Sprint("port ", port), "dir " + dir, "save \"\"",
		"logfile " + filepath.Join(dir, "redis.log")}, settings...)
	config := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o640); err != nil {
		return nil, err
	}
	return &Redis{Process: Process{Path: program, Args: []string{config}}, URL: fmt.Sprintf("redis://127.0.0.1:%d", port), dir: dir}, nil
}

// Start starts the server, for the first time or after a kill, and waits until it has its data
// and answers.
func (r *Redis) Start() error {
	if err := redistest.RepairAOF(r.dir); err != nil {
		return err
	}
	if err := r.Process.Start(); err != nil {
		return err
	}
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err = r.Do("PING"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("redis-server does not answer: %w", err)
}

// Do does one command on a connection of its own, and returns what Each would be called with.
func (r *Redis) Do(command ...string) (all []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := (&redisconn.Client{Login: redisconn.Login{URLs: []string{r.URL}}, MaxReply: 256 << 20}).Dial(ctx, "")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	v, err := c.Do(ctx, command...)
	if err != nil {
		return nil, err
	}
	return flat(nil, v), nil
}

// flat appends the strings and numbers of a reply, in order.
func flat(all []string, v redisconn.Value) []string {
	if !v.IsList() {
		if n, ok := v.Int(); ok && !v.IsText() {
			return append(all, fmt.Sprint(n))
		}
		return append(all, v.String())
	}
	for _, e := range v.All() {
		all = flat(all, e)
	}
	return all
}
