package pki

import (
	"fmt"
	"path/filepath"
	"time"
)

// Rotation is what a rotation did.
type Rotation struct {
	Authority string    `json:"authority"` // the new one
	Older     string    `json:"older"`     // the one before
	Until     time.Time `json:"until"`     // both are trusted
}

// Rotate replaces the authority. The one before is trusted for a while: hosts get certificates of
// the new one at their next connection or renewal. With an overlap of 0 every certificate made so
// far is worthless, open invitations are withdrawn, and every host needs a new one.
func (a *Authority) Rotate(overlap time.Duration) (done Rotation, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if overlap < 0 || overlap > AuthorityValid {
		return done, fmt.Errorf("an overlap of %s is not possible; want 0 or more", overlap)
	}
	until := now.Add(overlap)
	next, err := a.keys.replaced(now, until)
	if err != nil {
		return done, err
	}
	text, err := next.text()
	if err != nil {
		return done, err
	}
	if !until.After(now) { // invitations pin the authority that ends; who stole its key may know them, too
		if err := a.change(func(r *register) error { r.Invitations = nil; return nil }); err != nil {
			return done, err
		}
	}
	if err := a.disk.WriteFile(filepath.Join(a.dir, authorityName), text, 0o600); err != nil {
		return done, &notStored{err}
	}
	done = Rotation{idOf(next.cert), idOf(a.keys.cert), until}
	a.keys = next
	a.publish()
	return done, a.follow()
}

// Upkeep does what time demands: it renews the collector's certificate, ends trust in an
// authority whose overlap is over, forgets what expired long ago, and writes files again that
// are gone. It is called now and then.
func (a *Authority) Upkeep() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.restore(); err != nil {
		return err
	}
	if next := a.keys.trusted(a.now()); len(next.older) != len(a.keys.older) {
		text, err := next.text()
		if err != nil {
			return err
		}
		if err := a.disk.WriteFile(filepath.Join(a.dir, authorityName), text, 0o600); err != nil {
			return &notStored{err}
		}
		a.keys = next
		a.publish()
		a.server.leaf = nil // what leads to the older authority goes, too
	}
	if next := a.register.clone(); next.prune(a.now()) {
		if err := a.change(func(r *register) error { r.prune(a.now()); return nil }); err != nil {
			return err
		}
	}
	return a.follow()
}
