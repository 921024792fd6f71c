// Package natsconn says how a program connects to a NATS server: where, who it is,
// and over TLS or not. Secrets come from files alone, never from addresses,
// flags or the configuration, and not from files that everybody can read. It
// also says which streams may be trusted with lines, and how programs are found.
package natsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"fanin/internal/disk"
)

// Login is how to connect. Zero: without a name, as servers without
// authentication want it.
type Login struct {
	URL          string // one or several servers of one cluster, by commas: nats://HOST:PORT or tls://HOST:PORT
	User         string // with PasswordFile
	PasswordFile string
	TokenFile    string
	NKeyFile     string             // a seed, as nk makes it
	CredsFile    string             // a JWT and a seed, as nsc makes it
	TLS          func() *tls.Config // nil: plain, unless the URL says tls://
}

// CheckURLs says what is wrong with the addresses.
func (l *Login) CheckURLs() error {
	for _, address := range strings.Split(l.URL, ",") {
		if err := CheckURL(strings.TrimSpace(address)); err != nil {
			return err
		}
	}
	return nil
}

// CheckSecrets says what is wrong with all else that shows without a file.
func (l *Login) CheckSecrets() error {
	ways := 0
	for _, way := range []string{l.PasswordFile, l.TokenFile, l.NKeyFile, l.CredsFile} {
		if way != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("give one of password_file, token_file, nkey_file and creds_file")
	case (l.User == "") != (l.PasswordFile == ""):
		return errors.New("user and password_file go together")
	}
	return nil
}

// CheckURL says what is wrong with one address.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no address: want nats://HOST:PORT", address)
	case u.User != nil:
		return fmt.Errorf("the address of %s has a user or a token in it: secrets come from files, see user, password_file, token_file, nkey_file and creds_file", u.Host)
	case u.Scheme != "nats" && u.Scheme != "tls":
		return fmt.Errorf("%q: want nats:// or tls:// before host:port", address)
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return fmt.Errorf("%q: want nats://HOST:PORT", address)
	}
	return nil
}

// Encrypted reports whether what is sent is encrypted, or stays on this machine.
func (l *Login) Encrypted() bool {
	if l.TLS != nil {
		return true
	}
	for _, address := range strings.Split(l.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil {
			return false
		}
		ip := net.ParseIP(u.Hostname())
		if u.Scheme != "tls" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// Options are the library's options for l. The files are read now, so that a
// mistake shows at once, and again for each connection: secrets are renewed while
// programs run.
func (l *Login) Options() ([]nats.Option, error) {
	if err := errors.Join(l.CheckURLs(), l.CheckSecrets()); err != nil {
		return nil, err
	}
	options := []nats.Option{nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1)}
	if l.TLS != nil {
		options = append(options, l.secure)
	}
	switch {
	case l.PasswordFile != "":
		if _, err := secret(l.PasswordFile); err != nil {
			return nil, err
		}
		return append(options, nats.UserInfoHandler(func() (user, password string) {
			password, _ = secret(l.PasswordFile) // none is refused by the server, and said
			return l.User, password
		})), nil
	case l.TokenFile != "":
		if _, err := secret(l.TokenFile); err != nil {
			return nil, err
		}
		return append(options, nats.TokenHandler(func() (token string) {
			token, _ = secret(l.TokenFile)
			return token
		})), nil
	case l.NKeyFile != "":
		if _, err := secret(l.NKeyFile); err != nil {
			return nil, err
		}
		o, err := nats.NkeyOptionFromSeed(l.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("nkey file %s: %w", l.NKeyFile, err)
		}
		return append(options, o), nil
	case l.CredsFile != "":
		if _, err := secret(l.CredsFile); err != nil {
			return nil, err
		}
		return append(options, nats.UserCredentials(l.CredsFile)), nil
	}
	return options, nil
}

// secure makes the library ask for certificates and roots at each connection:
// their files may have changed.
func (l *Login) secure(o *nats.Options) error {
	c := l.TLS()
	o.Secure, o.TLSConfig = true, c
	o.RootCAsCB = func() (*x509.CertPool, error) { return l.TLS().RootCAs, nil }
	if len(c.Certificates) > 0 {
		o.TLSCertCB = func() (tls.Certificate, error) { return l.TLS().Certificates[0], nil }
	}
	return nil
}

// secret reads a file that not everybody may read.
func secret(path string) (string, error) {
	if err := disk.Regular(path); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("secret %s can be read by everybody (mode %04o): chmod 0640 %s", path, fi.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if s := strings.TrimSpace(string(b)); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("secret %s is empty", path)
}
