package collector

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"fanin/internal/escape"
)

// openAll binds and connects what the configuration has. Nothing is accepted before it is served.
func (c *server) openAll(ctx context.Context) error {
	for _, p := range c.settings.parts(c.most) {
		x, err := c.open(ctx, p)
		if err != nil {
			return err
		}
		c.listeners.add(x)
	}
	return c.listeners.begin(ctx)
}

// printStart prints what a person at the terminal needs to know next.
func (c *server) printStart() {
	if c.partition != nil {
		return // there are many
	}
	st := c.sink.Status()
	escape.Fprintf(os.Stderr, "writing %s (sync %s, format %s)\nstate %s\n", st.Path, st.Sync, st.Format, st.State)
	for _, l := range c.listeners.serving() {
		if l.kind == "tcp" {
			host, port, _ := net.SplitHostPort(l.address)
			name := filepath.Base(st.Path)
			escape.Fprintf(os.Stderr, "try: echo hello | nc -q0 %s %s; tail -F %s\n", host, port, name)
			escape.Fprintf(os.Stderr, "or:  fanin-agent --to %s /var/log/dpkg.log\n", l.address)
			return
		}
	}
}

// id distinguishes this collector from others, for people.
func (c *server) id() string { return c.sink.Status().Log[:8] }
