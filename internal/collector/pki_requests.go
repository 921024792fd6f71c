package collector

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"fanin/internal/pki"
	"fanin/internal/units"
)

// pkiRequests are the requests to the authority. Only the control socket answers them.
func (c *server) pkiRequests() []request {
	const disk = "the disk of the state directory"
	return []request{
		{name: "pki/list", local: true, waits: disk, answer: c.pkiList},
		{name: "pki/invite", local: true, changes: true, waits: disk, answer: c.pkiInvite},
		{name: "pki/revoke", local: true, changes: true, waits: disk, answer: c.pkiRevoke},
		{name: "pki/rotate", local: true, changes: true, waits: disk, answer: c.pkiRotate},
	}
}

func (c *server) pkiList(context.Context, url.Values) (any, error) {
	a := c.fleet.own()
	if a == nil {
		return nil, errNoAuthority
	}
	return a.List(), nil
}

// invited is what `pki invite` prints.
type invited struct {
	Token   string    `json:"token"`
	Address string    `json:"address"` // where the host will reach the collector
	Expires time.Time `json:"expires"`
}

func (c *server) pkiInvite(_ context.Context, q url.Values) (any, error) {
	a := c.fleet.own()
	if a == nil {
		return nil, errNoAuthority
	}
	i := pki.Invitation{Name: q.Get("name"), Pattern: q.Get("many"), Address: q.Get("address")}
	var err error
	if i.Address == "" {
		if i.Address, err = c.fleet.address(a); err != nil {
			return nil, err
		}
	}
	if text := q.Get("uses"); text != "" {
		if i.Uses, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("%w: uses is %q; want a number", errFilter, text)
		}
	}
	if text := q.Get("expires"); text != "" {
		if i.Valid, err = units.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("%w: expires: %w", errFilter, err)
		}
	}
	token, expires, err := a.Invite(i)
	if err != nil {
		return nil, err
	}
	c.log.Info("a host was invited", "name", i.Name+i.Pattern, "expires", expires)
	return invited{token.String(), token.Address, expires}, nil
}

// revoked is what `pki revoke` prints.
type revoked struct {
	pki.Revoked
	Connections int `json:"connections"` // that were open, and were closed
}

func (c *server) pkiRevoke(_ context.Context, q url.Values) (any, error) {
	a := c.fleet.own()
	if a == nil {
		return nil, errNoAuthority
	}
	done, err := a.Revoke(q.Get("name"))
	if err != nil {
		return nil, err
	}
	closed := c.fleet.gate.Enforce(a.Refuses)
	c.log.Info("the certificates of a host were revoked", "name", done.Name, "certificates", done.Certificates,
		"invitations", done.Invitations, "connections_closed", closed)
	return revoked{done, closed}, nil
}

func (c *server) pkiRotate(_ context.Context, q url.Values) (any, error) {
	a := c.fleet.own()
	if a == nil {
		return nil, errNoAuthority
	}
	overlap := pki.HostValid
	if text := q.Get("overlap"); text != "" {
		var err error
		if overlap, err = units.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("%w: overlap: %w", errFilter, err)
		}
	}
	done, err := a.Rotate(overlap)
	closed := c.fleet.gate.Enforce(a.Refuses) // also if not all files could be written: it may be in force
	if err != nil {
		return nil, err
	}
	c.log.Info("the authority was "+
		"replaced", "authority", done.Authority, "older", done.Older, "older_until", done.Until,
		"connections_closed", closed)
	return done, nil
}
