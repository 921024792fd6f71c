package pki

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/join"
)

// TestStolenKeyOfMany: the stolen key of a host that was revoked gets no certificate again with the token for many
// by which the host joined. Other hosts can still repeat their request.
func TestStolenKeyOfMany(t *testing.T) {
	a, c := create(t)
	token := invite(t, a, Invitation{Pattern: "k8s-*", Uses: 9, Valid: 24 * time.Hour})
	stolen := request(t, join.Join, token.Secret, "k8s-1", key(t))
	other := request(t, join.Join, token.Secret, "k8s-2", key(t))
	for _, r := range []*join.Request{stolen, other} {
		if answer, outcome := a.Sign(r, nil); outcome != Joined {
			t.Fatalf("%s, %q", outcome, answer.Reason)
		}
	}
	if _, err := a.Revoke("k8s-1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		refuses(t, a, stolen, nil, `"k8s-1" has or had a certificate already`)
		if _, outcome := a.Sign(other, nil); outcome != Repeated {
			t.Errorf("a host that was not revoked: %s", outcome)
		}
		a = reopen(t, a.dir, c)
	}
	own := invite(t, a, Invitation{Name: "k8s-1"})
	again := request(t, join.Join, own.Secret, "k8s-1", key(t))
	for _, want := range []Outcome{Joined, Repeated} {
		if answer, outcome := a.Sign(again, nil); outcome != want {
			t.Errorf("with an invitation of its own: %s, %q; want %s", outcome, answer.Reason, want)
		}
	}
	refuses(t, a, stolen, nil, `"k8s-1" has or had a certificate already`)
}

// TestRevokedDuringRenewal: a certificate that is revoked after the handshake, and before the request
// is answered, is not renewed.
func TestRevokedDuringRenewal(t *testing.T) {
	a, c := create(t)
	cert, _ := joined(t, a, "web-1")
	c.advance(HostValid / 2)
	if _, err := a.Revoke("web-1"); err != nil {
		t.Fatal(err)
	}
	refuses(t, a, request(t, join.Renew, join.Secret{}, "web-1", key(t)), cert, "was revoked")
	if l := a.List(); len(l.Hosts) != 1 || l.Hosts[0].State != Stopped {
		t.Errorf("%+v", l.Hosts)
	}
}

// TestRotateStolenTokens: after a rotation with an overlap of 0, tokens that were made before give
// nothing, also with a key that had a certificate; and the list shows whose certificates are over.
func TestRotateStolenTokens(t *testing.T) {
	a, c := create(t)
	many := invite(t, a, Invitation{Pattern: "k8s-*", Uses: 9, Valid: 24 * time.Hour})
	one := invite(t, a, Invitation{Name: "web-1", Valid: 24 * time.Hour})
	requests := []*join.Request{request(t, join.Join, many.Secret, "k8s-1", key(t)), request(t, join.Join, one.Secret, "web-1", key(t))}
	for _, r := range requests {
		if answer, outcome := a.Sign(r, nil); outcome != Joined {
			t.Fatalf("%s, %q", outcome, answer.Reason)
		}
	}
	if _, err := a.Rotate(0); err != nil {
		t.Fatal(err)
	}
	requests = append(requests, request(t, join.Join, many.Secret, "k8s-2", key(t)))
	for range 2 {
		for _, r := range requests {
			refuses(t, a, r, nil, "the token is not known")
		}
		for _, h := range a.List().Hosts {
			if h.State != Stopped {
				t.Errorf("%s is %s", h.Name, h.State)
			}
		}
		a = reopen(t, a.dir, c)
	}
}

// TestOpenWithoutKey: an authority whose key is gone, and whose register is there, is none that was
// never made: without it, certificates that were revoked would be accepted.
func TestOpenWithoutKey(t *testing.T) {
	a, c := create(t)
	if err := os.Remove(filepath.Join(a.dir, authorityName)); err != nil {
		t.Fatal(err)
	}
	b, err := Open(new(disk.Disk), a.dir, c.now)
	if b != nil || err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "would accept revoked certificates") {
		t.Errorf("%v, %v", b, err)
	}
}
