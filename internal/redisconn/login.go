package redisconn

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fanin/internal/disk"
)

// Login is where a server is, and how to log in to it. Secrets come from files alone, never
// from addresses or the configuration, and not from files that every user can read. They are
// read for each connection, so they can be renewed while programs run.
type Login struct {
	// URLs are addresses: redis://HOST:PORT, rediss://HOST:PORT (over TLS) or unix:///PATH, each
	// perhaps with /DB. More than one are Sentinels, nodes of a Cluster, or one server's
	// addresses: they are tried in order.
	URLs         []string
	User         string // of an ACL; "": the default user
	PasswordFile string
	Sentinel     string             // the name of the master, which the Sentinels at URLs know
	Cluster      bool               // URLs are nodes of a Cluster
	TLS          func() *tls.Config // nil: plain, unless the URL has rediss://
	Explain      func(error) error  // says what a failed handshake means; may be nil
}

// address is a parsed URL.
type address struct {
	network, host string // as for net.Dial
	secure        bool   // rediss://
	db            int
}

func (a address) String() string {
	if a.network == "unix" {
		return "unix://" + a.host
	}
	return a.host
}

// local reports whether the address cannot be another machine.
func (a address) local() bool {
	host, _, _ := net.SplitHostPort(a.host)
	ip := net.ParseIP(host)
	return a.network == "unix" || host == "localhost" || ip != nil && ip.IsLoopback()
}

// shown is an address for a message, without anything that may be a login.
func shown(raw string) string {
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return raw
	}
	scheme, _, ok := strings.Cut(raw[:at], "://")
	if ok {
		scheme += "://"
	} else {
		scheme = ""
	}
	return scheme + "..." + raw[at:]
}

// parse reads one URL.
func parse(raw string) (a address, err error) {
	u, err := url.Parse(raw)
	raw = shown(raw)
	switch {
	case err != nil:
		return a, fmt.Errorf("invalid address %q: want redis://HOST:PORT; a login is given by user and password_file",
			raw)
	case u.User != nil:
		return a, fmt.Errorf("%q contains a user or a password: give user and password_file instead", raw)
	case u.RawQuery != "" || u.Fragment != "":
		return a, fmt.Errorf("%q: want redis://HOST:PORT/DB, without anything behind it", raw)
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		return address{network: "unix", host: u.Path}, nil
	case u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "":
		return a, fmt.Errorf("%q: want redis://HOST:PORT, rediss://HOST:PORT (over TLS) or unix:///PATH", raw)
	}
	a = address{network: "tcp", secure: u.Scheme == "rediss"}
	a.host = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if a.db, err = strconv.Atoi(db); err != nil || a.db < 0 {
			return a, fmt.Errorf("%q: the database is %q; want a number, as in redis://HOST:PORT/0", raw, db)
		}
	}
	return a, nil
}

// addresses are all URLs, parsed.
func (l *Login) addresses() (all []address, err error) {
	for _, raw := range l.URLs {
		a, wrong := parse(raw)
		err = errors.Join(err, wrong)
		all = append(all, a)
	}
	if err == nil && len(all) == 0 {
		err = errors.New("no address of a Redis server")
	}
	return all, err
}

// DB is the number of the database that the addresses name.
func (l *Login) DB() int {
	if all, err := l.addresses(); err == nil {
		return all[0].db
	}
	return 0
}

// CheckURLs returns what is wrong with the addresses.
func (l *Login) CheckURLs() error {
	all, err := l.addresses()
	if err != nil {
		return err
	}
	for _, a := range all {
		switch {
		case a.db != all[0].db:
			return fmt.Errorf("the addresses name the databases %d and %d: give all of them the same",
				all[0].db, a.db)
		case l.Cluster && a.db != 0:
			return errors.New("a Cluster has only the database 0")
		case l.Cluster && l.Sentinel != "":
			return errors.New("a Cluster has no Sentinels: set cluster or sentinel_master, not both")
		case (l.Cluster || l.Sentinel != "") && a.network == "unix":
			return errors.New("only redis:// and rediss:// lead to Sentinels and to nodes of a Cluster")
		}
	}
	return nil
}

// SameServer reports whether two logins lead to one server, as far as their addresses show it.
func (l *Login) SameServer(other *Login) bool {
	mine, err1 := l.addresses()
	theirs, err2 := other.addresses()
	if err1 != nil || err2 != nil || l.Sentinel != other.Sentinel {
		return false
	}
	return slices.ContainsFunc(mine, func(a address) bool {
		return slices.ContainsFunc(theirs, func(b address) bool { return a.place() == b.place() })
	})
}

// place is the address without what different writers write differently.
func (a address) place() string {
	host := strings.Replace(strings.ToLower(a.host), "localhost:", "127.0.0.1:", 1)
	return a.network + " " + strings.Replace(host, "[::1]:", "127.0.0.1:", 1)
}

// CheckSecrets returns what is wrong with the rest, as far as it shows without reading a
// file.
func (l *Login) CheckSecrets() error {
	if l.User != "" && l.PasswordFile == "" {
		return errors.New("user needs password_file")
	}
	return nil
}

// Encrypted reports whether the connection is encrypted, or stays on this machine. Where the
// server is found by others, they may name any machine.
func (l *Login) Encrypted() bool {
	if l.TLS != nil {
		return true
	}
	all, err := l.addresses()
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(all, func(a address) bool { return !a.secure && !a.local() })
}

// Check reads the files of l and returns what is wrong with it.
func (l *Login) Check() error {
	_, err := l.password()
	return errors.Join(l.CheckURLs(), l.CheckSecrets(), err)
}

// secretError is a secret that cannot be read.
type secretError struct{ error }

func (e *secretError) Unwrap() error { return e.error }

// password reads the password; "" if there is none.
func (l *Login) password() (string, error) {
	if l.PasswordFile == "" {
		return "", nil
	}
	s, err := disk.ReadSecret(l.PasswordFile)
	if err != nil {
		return "", &secretError{err}
	}
	return s, nil
}
