package collector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"sync"
	"time"

	"fanin/internal/certs"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/pki"
)

// fleet is the collector's own authority, if it has one, and those who hold certificates.
type fleet struct {
	gate certs.Gate

	mu        sync.Mutex
	authority *pki.Authority // nil: there is none
	port      string         // of the listener where hosts join; "": there is none
}

// pkiDir is the directory of the authority.
func (s *settings) pkiDir() string { return filepath.Join(s.state(), "pki") }

// openAuthority opens the authority, unless there is none or it is open. It is called before
// listeners are opened.
func (c *server) openAuthority() error {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	if c.fleet.authority != nil {
		return nil
	}
	a, err := pki.Open(new(disk.Disk), c.settings.pkiDir(), time.Now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if a == nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("open the authority, without which it is "+
			"not known "+
			"which certificates are revoked: %w", err)}
	}
	c.fleet.authority = a
	c.fleet.gate.Enforce(a.Refuses)
	if err != nil {
		c.reportUpkeep(err)
	}
	return nil
}

// own is the authority; nil: there is none.
func (f *fleet) own() *pki.Authority {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.authority
}

// keepAuthority looks after the authority until ctx ends.
func (c *server) keepAuthority(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a := c.fleet.own()
			if a == nil {
				continue
			}
			if err := a.Upkeep(); err != nil {
				c.reportUpkeep(err)
			}
			c.fleet.gate.Enforce(a.Refuses) // the overlap of an older authority may be over
		}
	}
}

func (c *server) reportUpkeep(err error) {
	c.log.Error("the files of the authority cannot be written: certificates are not renewed until they can; trying "+
		"again", "directory", c.settings.pkiDir(), "err", err)
}

// tlsFiles are the files of a listener's tls table, whose peers with revoked certificates are
// refused.
func (c *server) tlsFiles(t *tables.ServerTLS) certs.Files {
	files := t.Files(c.log)
	files.Gate = &c.fleet.gate
	return files
}

// joinsAt reports whether hosts join at a listener: it has the certificate of the authority.
func (s *settings) joinsAt(t *tables.ServerTLS) bool {
	return t != nil && samePath(t.Cert, pki.PathsIn(s.pkiDir()).Server)
}

func samePath(a, b string) bool {
	x, xerr := filepath.Abs(a)
	y, yerr := filepath.Abs(b)
	return xerr == nil && yerr == nil && x == y
}

// joinsOn notes the address of a listener where hosts join.
func (f *fleet) joinsOn(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, f.port, _ = net.SplitHostPort(address)
}

// errNoAuthority: pki init was not run.
var errNoAuthority = errors.New("this collector has no authority yet: run, as root: fanin-collector pki init " +
	"--name NAME, " +
	"where NAME is what hosts reach it as")

// address is where hosts reach the collector.
func (f *fleet) address(a *pki.Authority) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.port == "" {
		p := a.Paths()
		return "", fmt.Errorf("no listener gives certificates: run fanin-collector pki init again, or give a "+
			"[[collector.tcp]] tls = {cert = %q, key = %[1]q, client_ca = %q}", p.Server, p.CA)
	}
	return net.JoinHostPort(a.Names()[0], f.port), nil
}
