package pki

import (
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"fanin/internal/join"
)

// Invitation is what a token is to admit: one name, or several hosts whose names match a
// pattern (path.Match).
type Invitation struct {
	Name    string
	Pattern string
	Uses    int           // with a pattern: for how many hosts
	Valid   time.Duration // 0: TokenValid
	Address string        // where hosts reach the collector, host:port
}

// MaxTokenValid is how long a token may be valid.
const MaxTokenValid = 30 * 24 * time.Hour

// check reports why an invitation is not possible, and sets defaults.
func (i *Invitation) check() error {
	if i.Valid == 0 {
		i.Valid = TokenValid
	}
	if i.Valid < time.Minute || i.Valid > MaxTokenValid {
		return fmt.Errorf("a token can be valid for 1m to 30d, and not for %s", i.Valid)
	}
	if i.Pattern == "" {
		i.Uses = 1
		return join.CheckName(i.Name)
	}
	if _, err := path.Match(i.Pattern, ""); err != nil || i.Name != "" || len(i.Pattern) > join.MaxName {
		return fmt.Errorf("%.80q is no pattern of names; want one such as 'k8s-*', and no name beside it", i.Pattern)
	}
	if i.Uses < 1 || i.Uses > maxUses {
		return fmt.Errorf("a token can be for 1 to %d hosts, and not for %d: set --uses", maxUses, i.Uses)
	}
	return nil
}

// Invite makes a token. It is stored as a hash only.
func (a *Authority) Invite(i Invitation) (*join.Token, time.Time, error) {
	if err := i.check(); err != nil {
		return nil, time.Time{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	token := &join.Token{Authority: join.PinOf(a.keys.cert), Secret: join.NewSecret(), Address: i.Address, Name: i.Name}
	if err := token.Check(); err != nil {
		return nil, time.Time{}, err
	}
	hash := token.Secret.Hash()
	now := a.now().UTC().Truncate(time.Second)
	made := invitation{ID: hex.EncodeToString(hash[:4]), Secret: hex.EncodeToString(hash[:]), Name: i.Name,
		Pattern: i.Pattern, Uses: i.Uses, Made: now, Expires: now.Add(i.Valid)}
	err := a.change(func(r *register) error {
		r.prune(now)
		open := 0
		for _, other := range r.Invitations {
			if other.open(now) {
				open++
			}
		}
		if open >= maxInvitations {
			return fmt.Errorf("%d invitations are open, which is the limit: wait until some expire, or invite "+
				"many hosts "+
				"with one token: fanin-collector pki invite --many 'PATTERN' --uses N", open)
		}
		r.Invitations = append(r.Invitations, made)
		return nil
	})
	return token, made.Expires, err
}

// open reports whether an invitation can still admit a host.
func (i *invitation) open(now time.Time) bool { return now.Before(i.Expires) && len(i.Used) < i.Uses }

// Revoked is what was revoked.
type Revoked struct {
	Name         string `json:"name"`
	Certificates int    `json:"certificates"` // that were valid
	Invitations  int    `json:"invitations"`  // that were open
}

// Revoke refuses every certificate that was made for a name so far, and withdraws its open
// invitations. A new invitation works.
func (a *Authority) Revoke(name string) (done Revoked, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done.Name = name
	now := a.now()
	err = a.change(func(r *register) error {
		for _, c := range r.Certificates {
			if c.Name == name && c.number() > r.through(name) && now.Before(c.Expires) {
				done.Certificates++
			}
		}
		known := r.last(name) != nil
		r.Invitations = slices.DeleteFunc(r.Invitations, func(i invitation) bool {
			if i.Pattern != "" || i.Name != name {
				return false
			}
			known = true
			if i.open(now) {
				done.Invitations++
			}
			return true
		})
		if !known {
			return fmt.Errorf("no certificate was made for %q, and it was not invited%s: fanin-collector pki "+
				"list shows all "+
				"names", name, r.similar(name))
		}
		r.revoke(name, now)
		if len(r.Revoked) > maxNames {
			return fmt.Errorf("%d names are revoked, which is the limit: rotate the authority, which begins anew: "+
				"fanin-collector pki rotate", maxNames)
		}
		return nil
	})
	return done, err
}

// similar names a host that may be meant.
func (r *register) similar(name string) string {
	for _, c := range r.Certificates {
		if strings.EqualFold(c.Name, name) || strings.HasPrefix(c.Name, name+".") {
			return fmt.Sprintf(" (%q was)", c.Name)
		}
	}
	return ""
}

// revoke stores that all certificates of a name so far are refused.
func (r *register) revoke(name string, now time.Time) {
	r.Revoked = slices.DeleteFunc(r.Revoked, func(x revocation) bool { return x.Name == name })
	r.Revoked = append(r.Revoked, revocation{name, r.Sequence, now.UTC().Truncate(time.Second)})
}
