package redisconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Client makes connections to one server, to the master that Sentinels name, or to the node
// of a Cluster that has a key. It keeps nothing between two calls, so it finds a new master
// at the next one. Zero fields take the defaults named. It is safe for concurrent use.
type Client struct {
	Login    Login
	Name     string        // of the connections, for operators: CLIENT LIST shows it
	Timeout  time.Duration // of connecting, and of the reply to a command; default 10 s
	MaxBulk  int           // the longest string of a reply; longer ones are skipped; default 1 MiB
	MaxReply int           // see Reader; default 8 MiB
	Skipped  func(int64)   // a string of so many bytes was skipped; called by the goroutine that reads; may be nil
}

func (c *Client) timeout() time.Duration { return cmp.Or(c.Timeout, 10*time.Second) }

// Dial connects and logs in. In a Cluster, it connects to the node that has the key; key is
// "" where any node will do, as for channels. A Conn stays with its server: after an error
// of the classes Moved and ReadOnly, close it and dial again.
func (c *Client) Dial(ctx context.Context, key string) (*Conn, error) {
	all, err := c.Login.addresses()
	if err != nil {
		return nil, err
	}
	// Each address has its own time, with that of the server that it names.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Duration(len(all))*c.timeout())
	defer cancel()
	var failed []error
	for _, a := range all {
		var conn *Conn
		switch {
		case c.Login.Sentinel != "":
			conn, err = c.dialMaster(ctx, a)
		case c.Login.Cluster && key != "":
			conn, err = c.dialOwner(ctx, a, key)
		default:
			conn, err = c.dial(ctx, a, true)
		}
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	if len(failed) == 1 {
		return nil, failed[0]
	}
	return nil, &dialError{failed}
}

// dialError is why no address could be used.
type dialError struct{ all []error }

func (e *dialError) Error() string {
	var texts []string
	for _, err := range e.all {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors of all addresses. The first one decides about the class.
func (e *dialError) Unwrap() []error { return e.all }

// dial connects to an address, and logs in if that is wanted.
func (c *Client) dial(ctx context.Context, a address, login bool) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, a.network, a.host)
	if err == nil {
		nc, err = c.secure(ctx, nc, a)
	}
	if err != nil {
		return nil, &connError{fmt.Errorf("connect to the Redis server %s: %w", a, err)}
	}
	conn := newConn(c, nc, a.String())
	if login {
		err = c.login(ctx, conn, a.db)
	}
	if err != nil {
		conn.Close()
		return nil, during("log in to the Redis server "+a.String(), "log in", err)
	}
	return conn, nil
}

// secure does the TLS handshake, if there is TLS.
func (c *Client) secure(ctx context.Context, nc net.Conn, a address) (net.Conn, error) {
	if c.Login.TLS == nil && !a.secure {
		return nc, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Login.TLS != nil {
		config = c.Login.TLS().Clone()
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(a.host)
	}
	over := tls.Client(nc, config)
	if err := over.HandshakeContext(ctx); err != nil {
		nc.Close()
		if c.Login.Explain != nil {
			err = c.Login.Explain(err)
		}
		return nil, err
	}
	return over, nil
}

// login sends the password, and selects the database. All that speak for Redis know these
// commands, which choose RESP2.
func (c *Client) login(ctx context.Context, conn *Conn, db int) error {
	password, err := c.Login.password()
	if err != nil {
		return err
	}
	if password != "" {
		conn.auth(c.Login.User, password)
	}
	if db != 0 {
		conn.Command("SELECT", strconv.Itoa(db))
	}
	named := c.Name != ""
	if named {
		conn.Command("CLIENT", "SETNAME", c.Name)
	}
	if err := conn.Send(ctx); err != nil {
		return err
	}
	for conn.Pending() > 0 {
		last := conn.Pending() == 1
		_, err := conn.Receive(ctx, 0)
		var refused *ServerError
		if named && last && errors.As(err, &refused) && Classify(err) != Busy && Classify(err) != NoAuth {
			return nil // it has no name then: an ACL may forbid it, and a proxy may not know it
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// auth asks to be logged in. User is "" for the default user, which servers before ACLs have
// alone.
func (c *Conn) auth(user, password string) {
	if user != "" {
		c.Command("AUTH", user, password)
	} else {
		c.Command("AUTH", password)
	}
}
