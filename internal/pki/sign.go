package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"fanin/internal/certs"
	"fanin/internal/join"
)

// Outcome is what came of a request, for metrics.
type Outcome string

// The outcomes of requests.
const (
	Joined   Outcome = "joined"
	Repeated Outcome = "repeated" // the same token with the same key: the answer was lost
	Renewed  Outcome = "renewed"
	Denied   Outcome = "refused"
	Failed   Outcome = "failed" // the disk
)

// Outcomes are all outcomes of Sign.
func Outcomes() []Outcome { return []Outcome{Joined, Repeated, Renewed, Denied, Failed} }

const (
	renewEvery = time.Minute      // a host's certificate is renewed at most so often
	retryAfter = 30 * time.Second // when the disk has no room
)

// Sign answers the request of a host. holder is the certificate that it showed, which was
// verified and is not revoked; nil: it showed none. Names and validity are the authority's: of the
// certificate request, only the key counts.
func (a *Authority) Sign(r *join.Request, holder *x509.Certificate) (*join.Answer, Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer, outcome, err := a.sign(r, holder)
	if err == nil {
		return answer, outcome
	}
	var refused *join.Refused
	var disk *notStored
	switch {
	case errors.As(err, &refused):
		return &join.Answer{Refused: *refused}, Denied
	case errors.As(err, &disk):
		return &join.Answer{Refused: join.Refused{Reason: "it cannot store the certificate now; see its log",
			Wait: retryAfter}}, Failed
	}
	return &join.Answer{Refused: join.Refused{Reason: err.Error()}}, Denied
}

func (a *Authority) sign(r *join.Request, holder *x509.Certificate) (*join.Answer, Outcome, error) {
	csr, key, err := checkCSR(r.CSR)
	if err != nil {
		return nil, "", err
	}
	outcome := Renewed
	var leaf *x509.Certificate
	err = a.change(func(next *register) error {
		var from string
		var err error
		if r.Kind == join.Renew {
			from, err = a.renews(r, holder)
		} else {
			from, outcome, err = next.admit(r, key, a.now())
		}
		if err != nil {
			return err
		}
		leaf, err = a.issueHost(next, r.Name, csr, key, from)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	answer := &join.Answer{Certificate: leaf.Raw}
	for _, c := range a.keys.trusted(a.now()).authorities() {
		answer.Authorities = append(answer.Authorities, c.Raw)
	}
	return answer, outcome, nil
}

// checkCSR returns a certificate request whose sender has the key, and the key's hash.
func checkCSR(der []byte) (*x509.CertificateRequest, string, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, "", fmt.Errorf("the certificate request is invalid: %w", err)
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 4096 {
			return nil, "", fmt.Errorf("the key has %d bits; want 2048 to 4096", n)
		}
	default:
		return nil, "", fmt.Errorf("a key of type %T is not accepted", key)
	}
	pin := join.PinOf(&x509.Certificate{RawSubjectPublicKeyInfo: csr.RawSubjectPublicKeyInfo})
	return csr, hex.EncodeToString(pin[:]), nil
}

// renews reports whether a host may have a new certificate for the one that it showed.
func (a *Authority) renews(r *join.Request, holder *x509.Certificate) (from string, err error) {
	if holder == nil || !a.own(holder) {
		return "", &join.Refused{Reason: "to renew, a host must show its present certificate, made by this " +
			"collector; " +
			"if it has none, it needs an invitation: fanin-collector pki invite " + r.Name}
	}
	if holder.Subject.CommonName != r.Name {
		return "", &join.Refused{Reason: fmt.Sprintf("the certificate is that of %q, and cannot be renewed for %q",
			holder.Subject.CommonName, r.Name)}
	}
	// It was not revoked when the connection began, and may have been since.
	if err := a.Refuses(certs.Peer{Name: holder.Subject.CommonName, Serial: holder.SerialNumber,
		Authority: string(holder.AuthorityKeyId)}); err != nil {
		return "", &join.Refused{Reason: err.Error()}
	}
	last := a.register.last(r.Name)
	if last == nil {
		return "", nil // made before the register was restored
	}
	if since := a.now().Sub(last.Issued); since >= 0 && since < renewEvery {
		return "", &join.Refused{Reason: "the certificate was renewed a moment ago", Wait: renewEvery - since}
	}
	return last.Invitation, nil
}

// own reports whether an authority of this collector made a certificate that was verified.
func (a *Authority) own(c *x509.Certificate) bool {
	return slices.ContainsFunc(a.keys.authorities(), func(authority *x509.Certificate) bool {
		return c.CheckSignatureFrom(authority) == nil
	})
}

// admit uses an invitation, if it admits the host.
func (r *register) admit(q *join.Request, key string, now time.Time) (id string, o Outcome, err error) {
	hash := q.Secret.Hash()
	at := slices.IndexFunc(r.Invitations, func(i invitation) bool { return i.Secret == hex.EncodeToString(hash[:]) })
	if at < 0 {
		return "", "", &join.Refused{Reason: "the token is not known: it is over, or was withdrawn. Ask for a " +
			"new one: " +
			"fanin-collector pki invite " + q.Name}
	}
	i := &r.Invitations[at]
	if !now.Before(i.Expires) {
		return "", "", &join.Refused{Reason: fmt.Sprintf("the token expired at %s, and it is %s now. Ask for a "+
			"new one: "+
			"fanin-collector pki invite "+
			"%s", i.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), q.Name)}
	}
	if err := i.names(q.Name); err != nil {
		return "", "", err
	}
	// A token for many outlives a revocation, and a thief of the certificate's key may know it.
	revoked := i.Pattern != "" && r.through(q.Name) > 0
	if slices.Contains(i.Used, use{q.Name, key}) && !revoked {
		return i.ID, Repeated, nil
	}
	if err := r.unused(i, q.Name); err != nil {
		return "", "", err
	}
	if r.full(q.Name) {
		return "", "", &join.Refused{Reason: fmt.Sprintf("%d hosts have certificates, which is the limit", maxNames)}
	}
	i.Used = append(i.Used, use{q.Name, key})
	return i.ID, Joined, nil
}

// names reports why an invitation is not for a name.
func (i *invitation) names(name string) error {
	if i.Pattern == "" && i.Name == name {
		return nil
	}
	if ok, _ := path.Match(i.Pattern, name); ok && i.Pattern != "" {
		return nil
	}
	want := i.Name + i.Pattern // one is empty
	return &join.Refused{Reason: fmt.Sprintf("the token is for %q, and not for %q", want, name)}
}

// unused reports why an invitation does not admit one more host of this name.
func (r *register) unused(i *invitation, name string) error {
	if i.Pattern == "" {
		if len(i.Used) > 0 {
			return &join.Refused{Reason: "the token was used already, with another key. If that was not this host, " +
				"revoke the certificate: fanin-collector pki revoke " + name + "; then ask for a new token: " +
				"fanin-collector pki invite " + name}
		}
		return nil
	}
	taken := r.last(name) != nil || r.through(name) > 0 ||
		slices.ContainsFunc(i.Used, func(u use) bool { return u.Name == name })
	if taken {
		return &join.Refused{Reason: fmt.Sprintf("%q has or had a certificate already, and a token for many "+
			"hosts makes no "+
			"second one; it needs an invitation of its own: fanin-collector pki invite %[1]s", name)}
	}
	if len(i.Used) >= i.Uses {
		return &join.Refused{Reason: fmt.Sprintf("the token was for %d hosts, and all of them have joined. Ask "+
			"for a new "+
			"one: fanin-collector pki invite %s", i.Uses, name)}
	}
	return nil
}

// issueHost makes a certificate for a host's key, and records it.
func (a *Authority) issueHost(r *register, name string, csr *x509.CertificateRequest, key, from string) (
	*x509.Certificate, error) {
	now := a.now()
	t := a.leafTemplate(now, x509.ExtKeyUsageClientAuth)
	t.SerialNumber, t.Subject, t.DNSNames = r.nextSerial(), pkix.Name{CommonName: name}, []string{name}
	leaf, err := issue(t, a.keys.cert, csr.PublicKey, a.keys.key)
	if err != nil {
		return nil, err
	}
	r.add(record{Name: name, Serial: serialText(t.SerialNumber), Key: key, Authority: idOf(a.keys.cert),
		Issued: now.UTC().Truncate(time.Second), Expires: leaf.NotAfter, Invitation: from})
	return leaf, nil
}

// idOf is how lists name an authority: the first 8 digits of its key's id.
func idOf(c *x509.Certificate) string { return hex.EncodeToString(c.SubjectKeyId[:4]) }
