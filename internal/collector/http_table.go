package collector

import (
	"regexp"
	"time"

	"fanin/internal/config"
	"fanin/internal/config/tables"
)

// httpTable is [collector.http].
type httpTable struct {
	Listen        string            `toml:"listen"`
	TLS           *tables.ServerTLS `toml:"tls"`
	Insecure      bool              `toml:"insecure"`
	ClientNames   []string          `toml:"client_names"`
	Hosts         []string          `toml:"hosts"`
	Control       bool              `toml:"control"`
	MaxConns      *int              `toml:"max_conns"`
	MaxConnsPerIP *int              `toml:"max_conns_per_ip"`
	HeaderTimeout *config.Duration  `toml:"header_timeout"`
	IdleTimeout   *config.Duration  `toml:"idle_timeout"`
	MaxWatchers   *int              `toml:"max_watchers"`
	MaxLookbacks  *int              `toml:"max_lookbacks"`
	allowed
}

func (t *httpTable) check(c *checks) {
	c.listen(t.Listen, t.Insecure, t.TLS != nil)
	t.TLS.Check(c.Table, t.ClientNames)
	t.allowed.check(c)
	c.Bound("max_conns", t.MaxConns)
	c.Bound("max_conns_per_ip", t.MaxConnsPerIP)
	c.AtLeast("max_watchers", t.MaxWatchers, 1)
	c.AtLeast("max_lookbacks", t.MaxLookbacks, 1)
	for key, d := range map[string]*config.Duration{"header_timeout": t.HeaderTimeout, "idle_timeout": t.IdleTimeout} {
		if d != nil && time.Duration(*d) < time.Millisecond {
			c.Problem(key, "%s is %s; want at least 1ms: a silent connection must not stay for ever", key, *d)
		}
	}
	for _, host := range t.Hosts {
		if !goodHost.MatchString(host) {
			c.Problem("hosts", "invalid host name %q; want a name alone, as in hosts = [\"logs.example.com\"]", host)
		}
	}
}

var goodHost = regexp.MustCompile(`^` + hostLabel + `(\.` + hostLabel + `)*$`)

const hostLabel = `[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?`
