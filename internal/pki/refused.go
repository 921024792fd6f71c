package pki

import (
	"fmt"
	"maps"
	"math/big"

	"fanin/internal/certs"
)

// refused is what handshakes compare certificates with. It does not change: handshakes do not
// wait for the disk.
type refused struct {
	authorities map[string]bool   // key ids of those that are trusted
	ended       map[string]bool   // of those that were, in the life of this process
	through     map[string]uint64 // by name
}

// publish puts the register in force for handshakes.
func (a *Authority) publish() {
	x := &refused{authorities: make(map[string]bool), ended: make(map[string]bool),
		through: make(map[string]uint64, len(a.register.Revoked))}
	for _, c := range a.keys.authorities() {
		x.authorities[string(c.SubjectKeyId)] = true
	}
	if before := a.refused.Load(); before != nil {
		maps.Copy(x.ended, before.ended)
		for id := range before.authorities {
			x.ended[id] = !x.authorities[id]
		}
	}
	for _, r := range a.register.Revoked {
		x.through[r.Name] = r.Through
	}
	a.refused.Store(x)
}

// Refuses reports why a certificate that was verified is refused: it was revoked. It is the
// judge of a certs.Gate.
func (a *Authority) Refuses(p certs.Peer) error {
	x := a.refused.Load()
	if x.ended[p.Authority] {
		return fmt.Errorf("the certificate of %q is of an authority that is no longer trusted; for a new one: "+
			"fanin-collector pki invite %[1]s", p.Name)
	}
	if !x.authorities[p.Authority] || sequenceOf(p.Serial) > x.through[p.Name] {
		return nil
	}
	return fmt.Errorf("the certificate of %q with the serial number %s was revoked; for a new one: "+
		"fanin-collector pki invite %[1]s", p.Name, serialText(p.Serial))
}

// number is the number in a record's serial number.
func (c *record) number() uint64 {
	n, ok := new(big.Int).SetString(c.Serial, 16)
	if !ok {
		return 0
	}
	return sequenceOf(n)
}
