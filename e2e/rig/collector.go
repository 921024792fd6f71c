package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"fanin/internal/freeport"
	"fanin/sink"
)

// Collector is a collector with a configuration of its own. It has the address
// that it got at its first start for all its lives.
type Collector struct {
	Process
	Log, State, Addr string

	Settings string // more lines of [collector], from the next start on
	Listener string // likewise, of its [[collector.tcp]]

	config, table string
}

// NewCollector makes a collector that keeps its configuration in dir and its log
// in logDir. logTable are more lines of the [collector.log] table.
func NewCollector(program, dir, logDir, logTable string) (*Collector, error) {
	port, err := freeport.One()
	if err != nil {
		return nil, err
	}
	c := &Collector{Log: filepath.Join(logDir, "all.log"), State: filepath.Join(logDir, "state"),
		Addr: fmt.Sprintf("127.0.0.1:%d", port), config: filepath.Join(dir, "collector.toml"), table: logTable}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	c.Process = Process{Path: program, Args: []string{"--config", c.config}, Wait: "writing "}
	return c, c.configure()
}

// configure writes the configuration: one address for tcp and udp.
func (c *Collector) configure() error {
	text := fmt.Sprintf("[collector]\nstate = %q\n%s\n[collector.log]\npath = %q\n%s\n[[collector.tcp]]\nlisten = %q\n%s\n[[collector.udp]]\nlisten = %q\n",
		c.State, c.Settings, c.Log, c.table, c.Addr, c.Listener, c.Addr)
	return os.WriteFile(c.config, []byte(text), 0o640)
}

// Start starts the collector and waits until it takes lines.
func (c *Collector) Start() error {
	if err := c.configure(); err != nil {
		return err
	}
	return c.Process.Start()
}

// askTime is more than the collector's own limit for an answer, which names what was
// waited for.
const askTime = 30 * time.Second

// Ask sends a request to the control socket. The answer is read into a *string
// as it is, into anything else as JSON.
func (c *Collector) Ask(method, path string, into any) error {
	client := &http.Client{Timeout: askTime, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.State, "control.sock"))
		}}}
	r, err := http.NewRequest(method, "http://collector"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err != nil || into == nil {
		return err
	}
	if s, ok := into.(*string); ok {
		*s = string(b)
		return nil
	}
	return json.Unmarshal(b, into)
}

// Status asks how the log stands.
func (c *Collector) Status() (sink.Status, error) {
	var st struct{ Log sink.Status }
	err := c.Ask("GET", "/status", &st)
	return st.Log, err
}

// Verify runs the program's own check of its log.
func (c *Collector) Verify() error {
	out, err := exec.Command(c.Path, append([]string{"verify"}, c.Args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	return nil
}

// Conserved asks until received = written + duplicate + rejected for every
// input: when nothing is on its way any more, that must hold.
func (c *Collector) Conserved(patience time.Duration) error {
	err := errors.New("never asked")
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var text string
		if err = c.Ask("GET", "/metrics", &text); err == nil {
			err = conserved(text)
		}
	}
	return err
}
