package collector

import (
	"cmp"
	"log/slog"
	"math"
	"os"
	"time"

	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/sink/depot"
)

// archiveTable is [collector.archive]: another place, to which closed files are copied.
type archiveTable struct {
	To            string            `toml:"to"`
	Endpoint      string            `toml:"endpoint"`
	Region        string            `toml:"region"`
	AccessKeyFile string            `toml:"access_key_file"`
	SecretKeyFile string            `toml:"secret_key_file"`
	TLS           *tables.ClientTLS `toml:"tls"`
	Insecure      bool              `toml:"insecure"`
	Check         string            `toml:"check"`
	Keep          *config.Size      `toml:"keep_for_archive"`
	KeepAge       config.Duration   `toml:"keep_for_archive_age"`
}

// place is the place that the table names, without its certificates.
func (t *archiveTable) place() (depot.Place, error) {
	p, err := depot.ParsePlace(t.To)
	p.Endpoint, p.Region = t.Endpoint, t.Region
	p.AccessKeyFile, p.SecretKeyFile = t.AccessKeyFile, t.SecretKeyFile
	return p, err
}

// tlsPlace is place with its certificates.
func (t *archiveTable) tlsPlace(log *slog.Logger) (p depot.Place, err error) {
	if p, err = t.place(); err == nil && t.TLS != nil {
		p.TLS, err = t.TLS.Files(log).Client()
	}
	return p, err
}

func (t *archiveTable) check(c *checks) {
	if t.To == "" {
		c.Problem("to", "to is missing: where files are copied, as in to = \"file:///mnt/archive\" or "+
			"\"s3://logs/site-1\"")
		return
	}
	p, err := t.place()
	if err != nil {
		c.Problem("to", "to is %v", err)
		return
	}
	c.OneOf("check", cmp.Or(t.Check, "content"), "content", "size")
	t.TLS.Check(c.Table)
	if p.Dir != "" {
		c.unused("file://", changed("endpoint", &t.Endpoint, ""), changed("region", &t.Region, ""),
			changed("access_key_file", &t.AccessKeyFile, ""), changed("secret_key_file", &t.SecretKeyFile, ""))
		return
	}
	for key, file := range map[string]string{"access_key_file": t.AccessKeyFile, "secret_key_file": t.SecretKeyFile} {
		if file == "" {
			c.Problem(key, "%s is missing: the file that has this part of the key", key)
		}
	}
	if err := p.CheckEndpoint(); err != nil {
		c.Problem("endpoint", "endpoint is %v", err)
	} else if p.Exposed() && !t.Insecure && !c.insecure {
		c.Problem("endpoint", "endpoint is %q, which is another machine, and the connection is not encrypted: use "+
			"https://, or set insecure = true (or --insecure) if you trust the network", t.Endpoint)
	}
}

// tryFiles reads the key and the certificates, and looks for the directory.
func (t *archiveTable) tryFiles() error {
	p, err := t.tlsPlace(nil)
	switch {
	case err != nil:
	case p.Dir != "":
		_, err = os.Stat(p.Dir)
	default:
		_, _, err = p.Secrets()
	}
	if err == nil && t.TLS != nil {
		err = t.TLS.Files(nil).CheckClient(time.Now())
	}
	return err
}

// hold is up to which size of the log, and for how long, files are kept that are not copied yet: by
// default up to twice keep_bytes, without a limit in time.
func (t *archiveTable) hold(keepBytes config.Size) (bytes int64, age time.Duration) {
	if t == nil {
		t = &archiveTable{}
	}
	bytes = math.MaxInt64
	switch {
	case t.Keep != nil:
		bytes = int64(*t.Keep)
	case keepBytes > 0 && keepBytes < math.MaxInt64/2:
		bytes = 2 * int64(keepBytes)
	}
	return bytes, time.Duration(t.KeepAge)
}
