package natsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"

	"fanin/internal/disk"
)

// Login is where a server is, and how to log in to it. Without any secret it logs in
// without a name, which is what a server without authentication expects.
//
// Secrets come from files alone, never from addresses, flags or the configuration,
// and not from files that every user can read.
type Login struct {
	URL          string // servers of one cluster, separated by commas: nats://HOST:PORT or tls://HOST:PORT
	User         string // with PasswordFile
	PasswordFile string
	TokenFile    string
	NKeyFile     string             // a seed, as nk makes it
	CredsFile    string             // a JWT and a seed, as nsc makes it
	TLS          func() *tls.Config // nil: plain, unless the URL has tls://
}

// CheckURLs returns what is wrong with the addresses.
func (l *Login) CheckURLs() error {
	for _, address := range strings.Split(l.URL, ",") {
		if err := CheckURL(strings.TrimSpace(address)); err != nil {
			return err
		}
	}
	return nil
}

// CheckSecrets returns what is wrong with the rest, as far as it shows without reading
// a file.
func (l *Login) CheckSecrets() error {
	secrets := 0
	for _, file := range []string{l.PasswordFile, l.TokenFile, l.NKeyFile, l.CredsFile} {
		if file != "" {
			secrets++
		}
	}
	switch {
	case secrets > 1:
		return errors.New("set only one of password_file, token_file, nkey_file and creds_file")
	case (l.User == "") != (l.PasswordFile == ""):
		return errors.New("user and password_file belong together: set both or neither")
	}
	return nil
}

// CheckURL returns what is wrong with one address.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("invalid address %q: want nats://HOST:PORT", address)
	case u.User != nil:
		return fmt.Errorf("the address of %s contains a user or a token: secrets come from files, "+
			"see user, password_file, token_file, nkey_file and creds_file", u.Host)
	case u.Scheme != "nats" && u.Scheme != "tls":
		return fmt.Errorf("%q: want nats:// or tls:// before host:port", address)
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return fmt.Errorf("%q: want nats://HOST:PORT", address)
	}
	return nil
}

// Encrypted reports whether the connection is encrypted, or stays on this machine.
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

// Check reads the files of l and returns what is wrong with it.
func (l *Login) Check() error {
	_, err := l.options()
	return err
}

// options are the library's options for l. The files are read now, so that a mistake
// shows at once, and again for each connection: secrets are renewed while programs run.
func (l *Login) options() ([]nats.Option, error) {
	if err := errors.Join(l.CheckURLs(), l.CheckSecrets()); err != nil {
		return nil, err
	}
	var options []nats.Option
	if l.TLS != nil {
		options = append(options, l.secure)
	}
	secret, err := l.secretOption()
	if err != nil {
		return nil, err
	}
	if secret != nil {
		options = append(options, secret)
	}
	return options, nil
}

// secretOption is the option for the secret, nil if there is none. A secret that is
// unreadable later is an empty one: the server refuses it, and that is logged.
func (l *Login) secretOption() (nats.Option, error) {
	for _, file := range []string{l.PasswordFile, l.TokenFile, l.NKeyFile, l.CredsFile} {
		if file == "" {
			continue
		}
		if _, err := disk.ReadSecret(file); err != nil {
			return nil, err
		}
	}
	switch {
	case l.PasswordFile != "":
		return nats.UserInfoHandler(func() (user, password string) {
			password, _ = disk.ReadSecret(l.PasswordFile)
			return l.User, password
		}), nil
	case l.TokenFile != "":
		return nats.TokenHandler(func() (token string) {
			token, _ = disk.ReadSecret(l.TokenFile)
			return token
		}), nil
	case l.NKeyFile != "":
		o, err := nats.NkeyOptionFromSeed(l.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("nkey file %s: %w", l.NKeyFile, err)
		}
		return o, nil
	case l.CredsFile != "":
		return nats.UserCredentials(l.CredsFile), nil
	}
	return nil, nil
}

// secure makes the library ask for certificates and roots at each connection: their
// files may have changed.
func (l *Login) secure(o *nats.Options) error {
	c := l.TLS()
	o.Secure, o.TLSConfig = true, c
	o.RootCAsCB = func() (*x509.CertPool, error) { return l.TLS().RootCAs, nil }
	if len(c.Certificates) > 0 {
		o.TLSCertCB = func() (tls.Certificate, error) { return l.TLS().Certificates[0], nil }
	}
	return nil
}
