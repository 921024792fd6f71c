package collector

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/redisconn"
)

// redisTable is [[collector.redis]]: a Redis server that lines come from, and go to.
type redisTable struct {
	redisLogin

	Channels   []string     `toml:"channels"`
	Pending    *config.Size `toml:"pending"`
	Streams    []string     `toml:"streams"`
	Group      string       `toml:"group"`
	Consumer   string       `toml:"consumer"`
	Message    *string      `toml:"message"`
	Lists      []string     `toml:"lists"`
	Name       string       `toml:"name"`
	Host       string       `toml:"host"`
	MaxMessage *config.Size `toml:"max_message"`
	MaxLine    *config.Size `toml:"max_line"`

	Output *redisOutputTable `toml:"output"`
}

// redisLogin is how a Redis server is reached.
type redisLogin struct {
	URL          config.OneOrMore  `toml:"url"`
	User         string            `toml:"user"`
	PasswordFile string            `toml:"password_file"`
	Sentinel     string            `toml:"sentinel_master"`
	Cluster      bool              `toml:"cluster"`
	TLS          *tables.ClientTLS `toml:"tls"`
	Insecure     bool              `toml:"insecure"`
}

func (t *redisLogin) login() redisconn.Login {
	return redisconn.Login{URLs: t.URL, User: t.User, PasswordFile: t.PasswordFile, Sentinel: t.Sentinel,
		Cluster: t.Cluster}
}

// tlsLogin is login with the TLS of the table.
func (t *redisLogin) tlsLogin(log *slog.Logger) (l redisconn.Login, err error) {
	l = t.login()
	if t.TLS != nil {
		files := t.TLS.Files(log)
		if l.TLS, err = files.Client(); err != nil {
			return l, fmt.Errorf("tls of %s: %w", t.URL, err)
		}
		l.Explain = files.ExplainClient
	}
	return l, nil
}

// tryFiles reads the certificates and secrets.
func (t *redisLogin) tryFiles() error {
	login, err := t.tlsLogin(nil)
	if err == nil {
		err = login.Check()
	}
	if err == nil && t.TLS != nil {
		err = t.TLS.Files(nil).CheckClient(time.Now())
	}
	return err
}

func (t *redisTable) needs() needs {
	return needs{memory: []memoryNeed{{"pending", t.Pending}, {"max_message", t.MaxMessage}}, files: t.tryFiles,
		handsOut: t.Output.group() != "", alone: true}
}

func (t *redisTable) check(c *checks) {
	if len(t.URL) == 0 {
		c.Problem("url", "url is missing: the Redis server, as in url = \"redis://127.0.0.1:6379\"")
		return
	}
	t.redisLogin.check(c)
	if len(t.Channels)+len(t.Streams)+len(t.Lists) == 0 && t.Output == nil {
		c.Problem("", "the table has no effect: give it channels = [\"logs.*\"], streams, lists, or an output")
	}
	t.Output.check(c)
	for key, names := range map[string][]string{"channels": t.Channels, "streams": t.Streams, "lists": t.Lists} {
		t.checkNames(c, key, names)
	}
	t.checkUnused(c)
	t.checkLists(c)
	t.checkOverlaps(c)
	c.SizeBetween("pending", t.Pending, 1<<20, 1<<30)
	c.SizeBetween("max_message", t.MaxMessage, 1<<10, 64<<20)
	c.maxLine(t.MaxLine)
}

// check checks how the server is reached.
func (t *redisLogin) check(c *checks) {
	l := t.login()
	if err := l.CheckSecrets(); err != nil {
		c.Problem("", "%v", err)
	}
	if err := l.CheckURLs(); err != nil {
		c.Problem("url", "%v", err)
	} else if !l.Encrypted() && t.TLS == nil && !t.Insecure && !c.insecure {
		c.Problem("url", "url is %q, which is another machine, and the connection is not encrypted: "+
			"use rediss:// or tls = {ca = \"...\"}, or set insecure = true (or --insecure) if you trust the network",
			[]string(t.URL))
	}
	t.TLS.Check(c.Table)
}

// checkNames checks the names of channels or keys.
func (t *redisTable) checkNames(c *checks, key string, names []string) {
	for i, name := range names {
		switch {
		case name == "":
			c.Problem(key, "%s has an empty name", key)
		case slices.Contains(names[:i], name):
			c.Problem(key, "%s has %q twice: everything would be received twice", key, name)
		case key != "channels" && strings.Contains(name, "*"):
			c.Problem(key, "%s has %q: only channels may be patterns; name each key", key, name)
		}
	}
}

// checkUnused refuses keys that have no effect.
func (t *redisTable) checkUnused(c *checks) {
	for _, x := range []struct {
		key, needs string
		useless    bool
	}{
		{"group", "streams", t.Group != "" && len(t.Streams) == 0},
		{"consumer", "group or lists", t.Consumer != "" && t.Group == "" && len(t.Lists) == 0},
		{"pending", "channels", t.Pending != nil && len(t.Channels) == 0},
	} {
		if x.useless {
			c.Problem(x.key, "%s has no effect without %s", x.key, x.needs)
		}
	}
}
