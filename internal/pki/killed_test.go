package pki

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/join"
)

// failing is a disk that fails from its nth access on, as after a kill.
func failing(n int) *disk.Disk {
	return &disk.Disk{Fault: func(disk.Op, string) (int, error) {
		if n--; n < 0 {
			return 0, errKilled
		}
		return 0, nil
	}}
}

// TestCreateKilled: after any step there is no authority yet, or a whole one, and another attempt works.
func TestCreateKilled(t *testing.T) {
	c := newClock()
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "pki")
		err := Create(failing(n), dir, []string{"collector.example"}, c.now())
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		if _, serr := os.Stat(dir); err != nil && serr != nil {
			if err := Create(new(disk.Disk), dir, []string{"collector.example"}, c.now()); err != nil {
				t.Fatalf("after %d steps: %v", n, err)
			}
		}
		joined(t, reopen(t, dir, c), "web-1")
		if err == nil {
			return
		}
	}
}

// killedDuring makes each access to the disk fail in turn during do, then reopens the authority and
// lets check look. do reports whether it succeeded.
func killedDuring(t *testing.T, prepare func(a *Authority), do func(a *Authority) bool, check func(a *Authority, done bool)) {
	t.Helper()
	for n := 0; ; n++ {
		a, c := create(t)
		prepare(a)
		a.disk = failing(n)
		done := do(a)
		a.disk = new(disk.Disk)
		check(a, done) // the process lives on: the disk was full
		check(reopen(t, a.dir, c), done)
		if done {
			return
		}
	}
}

// TestJoinKilledHere: a collector that ends at any moment of an exchange has answered only what it
// will know; the host can ask again, and another cannot.
func TestJoinKilledHere(t *testing.T) {
	var token *join.Token
	var r *join.Request
	killedDuring(t, func(a *Authority) {
		token = invite(t, a, Invitation{Name: "web-1"})
		r = request(t, join.Join, token.Secret, "web-1", key(t))
	}, func(a *Authority) bool {
		answer, outcome := a.Sign(r, nil)
		if outcome != Joined && (outcome != Failed || answer.Wait == 0) {
			t.Errorf("%s, %+v", outcome, answer.Refused)
		}
		return outcome == Joined
	}, func(a *Authority, done bool) {
		if done && a.register.last("web-1") == nil {
			t.Error("a certificate was sent that is not known")
		}
		if _, outcome := a.Sign(r, nil); outcome != Joined && outcome != Repeated || done && outcome != Repeated {
			t.Errorf("the host asks again, and it is %s", outcome)
		}
		refuses(t, a, request(t, join.Join, token.Secret, "web-1", key(t)), nil, "used already")
	})
}

// TestRevokeKilled: a revocation that was reported holds; one that failed can be repeated; and no number is
// used twice.
func TestRevokeKilled(t *testing.T) {
	var cert *x509.Certificate
	killedDuring(t, func(a *Authority) { cert, _ = joined(t, a, "web-1") }, func(a *Authority) bool {
		_, err := a.Revoke("web-1")
		return err == nil
	}, func(a *Authority, done bool) {
		if done && a.Refuses(peer(cert)) == nil {
			t.Error("a revocation was lost")
		}
		if _, err := a.Revoke("web-1"); err != nil {
			t.Error(err)
		}
		fresh, _ := joined(t, a, "web-1")
		if a.Refuses(peer(cert)) == nil || a.Refuses(peer(fresh)) != nil {
			t.Error("the wrong one is refused")
		}
	})
}

// TestRotateKilled: after any step of a rotation, old and new hosts connect.
func TestRotateKilled(t *testing.T) {
	var cert *x509.Certificate
	var k any
	var first *x509.Certificate
	killedDuring(t, func(a *Authority) {
		cert, k = joined(t, a, "web-1")
		first = a.keys.cert
	}, func(a *Authority) bool {
		_, err := a.Rotate(HostValid)
		return err == nil
	}, func(a *Authority, done bool) {
		if err := a.Upkeep(); err != nil {
			t.Fatal(err)
		}
		if done && len(a.keys.older) == 0 {
			t.Error("a rotation was lost")
		}
		both(t, a, "the old host", host(cert, k, first), true)
		fresh, freshKey := joined(t, a, "web-2")
		both(t, a, "a new host", host(fresh, freshKey, a.keys.cert), true)
	})
}

// TestUpkeepKilled: a renewal of the collector's certificate that fails leaves the old one, and comes
// later.
func TestUpkeepKilled(t *testing.T) {
	for n := 0; ; n++ {
		a, c := create(t)
		before := a.List().Server.Expires
		c.advance(HostValid * 3 / 4)
		a.disk = failing(n)
		err := a.Upkeep()
		cert, k := joined(t, reopen(t, a.dir, c), "web-1")
		both(t, a, "after a failure", host(cert, k, a.keys.cert), true)
		a.disk = new(disk.Disk)
		if err := a.Upkeep(); err != nil {
			t.Error(err)
		}
		if got := a.List().Server.Expires; got.Sub(before) < time.Hour {
			t.Errorf("it expires %s", got)
		}
		if err == nil {
			return
		}
	}
}
