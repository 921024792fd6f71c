package pki

import (
	"cmp"
	"slices"
	"time"
)

// List is all that the authority knows, for people.
type List struct {
	Authorities []AuthorityStatus  `json:"authorities"` // the present one first
	Server      CertificateStatus  `json:"server"`
	Hosts       []HostStatus       `json:"hosts"`
	Invitations []InvitationStatus `json:"invitations"`
}

// AuthorityStatus is an authority that is trusted.
type AuthorityStatus struct {
	ID      string     `json:"id"`
	Expires time.Time  `json:"expires"`
	Until   *time.Time `json:"trusted_until,omitempty"` // of one that was replaced
}

// CertificateStatus is the collector's own certificate.
type CertificateStatus struct {
	Names   []string  `json:"names"`
	Expires time.Time `json:"expires"`
	Renews  time.Time `json:"renews"`
}

// HostStatus is the newest certificate of a host. State is "valid", "expired" or "revoked", which it also
// is when its authority is no longer trusted.
type HostStatus struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Serial    string    `json:"serial"`
	Authority string    `json:"authority"`
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"`
}

// InvitationStatus is a token. State is "open", "used" or "expired".
type InvitationStatus struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Pattern string    `json:"pattern,omitempty"`
	State   string    `json:"state"`
	Uses    int       `json:"uses"`
	Used    int       `json:"used"`
	Expires time.Time `json:"expires"`
}

// The states of hosts and invitations.
const (
	Valid   = "valid"
	Expired = "expired"
	Stopped = "revoked"
	Unused  = "open"
	Used    = "used"
)

// List lists authorities, hosts by name, and invitations by age.
func (a *Authority) List() List {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	l := List{Hosts: []HostStatus{}, Invitations: []InvitationStatus{}}
	l.Authorities = append(l.Authorities, AuthorityStatus{ID: idOf(a.keys.cert), Expires: a.keys.cert.NotAfter})
	for _, o := range a.keys.older {
		l.Authorities = append(l.Authorities, AuthorityStatus{idOf(o.cert), o.cert.NotAfter, &o.until})
	}
	if leaf := a.server.leaf; leaf != nil {
		l.Server = CertificateStatus{a.register.Names, leaf.NotAfter, RenewAt(leaf)}
	}
	trusted := make(map[string]bool)
	for _, x := range l.Authorities {
		trusted[x.ID] = true
	}
	seen := make(map[string]bool)
	for _, c := range slices.Backward(a.register.Certificates) {
		if !seen[c.Name] {
			seen[c.Name] = true
			h := a.register.host(&c, now)
			if h.State == Valid && !trusted[c.Authority] {
				h.State = Stopped
			}
			l.Hosts = append(l.Hosts, h)
		}
	}
	slices.SortFunc(l.Hosts, func(x, y HostStatus) int { return cmp.Compare(x.Name, y.Name) })
	for _, i := range a.register.Invitations {
		l.Invitations = append(l.Invitations, i.status(now))
	}
	return l
}

func (r *register) host(c *record, now time.Time) HostStatus {
	h := HostStatus{c.Name, Valid, c.Serial, c.Authority, c.Issued, c.Expires}
	switch {
	case c.number() <= r.through(c.Name):
		h.State = Stopped
	case !now.Before(c.Expires):
		h.State = Expired
	}
	return h
}

func (i *invitation) status(now time.Time) InvitationStatus {
	s := InvitationStatus{i.ID, i.Name, i.Pattern, Unused, i.Uses, len(i.Used), i.Expires}
	switch {
	case len(i.Used) >= i.Uses:
		s.State = Used
	case !now.Before(i.Expires):
		s.State = Expired
	}
	return s
}
