package collector

import (
	"cmp"
	"os"
	"strings"
	"time"

	"fanin/ingest"
	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// relayTable is [collector.relay]: another collector, to which the log is forwarded.
type relayTable struct {
	To              []string          `toml:"to"`
	TLS             *tables.ClientTLS `toml:"tls"`
	ID              string            `toml:"id"`
	Host            string            `toml:"host"`
	Compress        string            `toml:"compress"`
	KeepForUpstream config.Size       `toml:"keep_for_upstream"`
	KeepAge         config.Duration   `toml:"keep_for_upstream_age"`
	NATS            relayNATS         `toml:"nats"`
}

// relayNATS is how the upstream is met at a NATS server.
type relayNATS struct {
	Subject      string           `toml:"subject"`
	Stream       string           `toml:"stream"`
	AnswerWithin *config.Duration `toml:"answer_within"`
	tables.NATSLogin
}

// id is the relay's id: by default the host name.
func (t *relayTable) id() string {
	if t.ID != "" {
		return t.ID
	}
	name, _ := os.Hostname()
	return name
}

// target is where the relay forwards to; the mistakes in it were reported.
func (t *relayTable) target() (to tables.Target) {
	for _, text := range t.To {
		if scheme, addr, err := tables.ParseTo(text); err == nil {
			to.Scheme, to.Addrs = scheme, append(to.Addrs, addr)
		}
	}
	return to
}

func (t *relayTable) check(c *checks, format string) {
	if len(t.To) == 0 {
		c.Problem("to", "to is missing: the other collector's address, as in to = [\"tls://central:6789\"]")
	}
	to := tables.ReadTarget(c.Table, t.To)
	to.CheckTLS(c.Table, t.TLS)
	if to.Scheme == "udp" {
		c.Problem("to", "to is %s, and udp acknowledges nothing: write tcp://, tls:// or nats://", to)
	}
	if !ingest.ValidID(t.id()) {
		c.Problem("id", "id is %q; want 1 to 128 of A-Z a-z 0-9 . _ -, and not %q", t.id(), wire.SourceNotice)
	}
	if t.Host != wire.CleanHost(t.Host) {
		c.Problem("host", "host is %q; want up to %d of A-Z a-z 0-9 . _ / : -", t.Host, wire.MaxName)
	}
	c.OneOf("compress", cmp.Or(t.Compress, "auto"), "auto", "zstd", "none")
	if !goodPrefix.MatchString(t.subject()) {
		c.Sub("nats").Problem("subject", "subject is %q; want letters, digits, '_', '/' and '-', in parts separated "+
			"by '.', without wildcards", t.NATS.Subject)
	}
	if t.NATS.Stream != "" && !goodName.MatchString(t.NATS.Stream) {
		c.Sub("nats").Problem("stream", "stream is %q; want the name of a JetStream stream", t.NATS.Stream)
	}
	c.Sub("nats").DurationAtLeast("answer_within", t.NATS.AnswerWithin, time.Second)
	if to.Scheme == "nats" {
		login := t.login(to)
		if err := login.CheckSecrets(); err != nil {
			c.Sub("nats").Problem("", "%v", err)
		}
	}
	if format == "raw" {
		c.Problem("", "a log in format raw cannot be relayed: its lines have no host, source and time; set "+
			"collector.log.format to \"syslog\" or \"json\"")
	}
}

func (t *relayTable) subject() string { return cmp.Or(t.NATS.Subject, "fanin") }

func (t *relayTable) login(to tables.Target) natsconn.Login {
	return t.NATS.Login(strings.Join(to.Addrs, ","))
}

// tryFiles reads the certificates and secrets.
func (t *relayTable) tryFiles() error {
	to := t.target()
	if to.Scheme == "nats" {
		login := t.login(to)
		if err := login.Check(); err != nil {
			return err
		}
	}
	if t.TLS == nil {
		return nil
	}
	var names []string
	if to.Scheme == "tls" && t.TLS.Cert != "" {
		names = append(names, t.id()) // else the upstream refuses the relay
	}
	return t.TLS.Files(nil).CheckClient(time.Now(), names...)
}
