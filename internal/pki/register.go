package pki

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"fanin/internal/join"
)

// register is what the authority remembers, as its file has it: one JSON object.
//
//	{"version": 1,
//	 "sequence": 12,                          number of the last certificate
//	 "names": ["collector.example"],          of the collector; the first is in tokens
//	 "certificates": [{"name": "web-1", "serial": "000000000000000c...", "key": SHA-256 of its
//	     public key in hex, "authority": first 8 digits of the signer's key id,
//	     "issued": RFC 3339, "expires": RFC 3339, "invitation": "3f..."}],
//	 "invitations": [{"id": "3f...", "secret": SHA-256 in hex, "name": "web-1", or "pattern":
//	     "k8s-*" and "uses": 100, "made": RFC 3339, "expires": RFC 3339,
//	     "used": [{"name": "web-1", "key": SHA-256 in hex}]}],
//	 "revoked": [{"name": "web-2", "through": 11, "at": RFC 3339}]}
type register struct {
	Version      int          `json:"version"`
	Sequence     uint64       `json:"sequence"`
	Names        []string     `json:"names"`
	Certificates []record     `json:"certificates"`
	Invitations  []invitation `json:"invitations"`
	Revoked      []revocation `json:"revoked"`
}

// record is a certificate that was made for a host.
type record struct {
	Name       string    `json:"name"`
	Serial     string    `json:"serial"`
	Key        string    `json:"key"`
	Authority  string    `json:"authority"`
	Issued     time.Time `json:"issued"`
	Expires    time.Time `json:"expires"`
	Invitation string    `json:"invitation"`
}

// invitation is a token that was made. The token itself is not stored.
type invitation struct {
	ID      string    `json:"id"`
	Secret  string    `json:"secret"`
	Name    string    `json:"name,omitempty"`
	Pattern string    `json:"pattern,omitempty"`
	Uses    int       `json:"uses"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
	Used    []use     `json:"used,omitempty"`
}

// use is a host that joined with an invitation.
type use struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// revocation refuses the certificates of a name up to a number.
type revocation struct {
	Name    string    `json:"name"`
	Through uint64    `json:"through"`
	At      time.Time `json:"at"`
}

// Bounds of the register. Names that expired long ago make room.
const (
	registerVersion = 1
	maxInvitations  = 1000
	maxUses         = 100_000
	maxNames        = 65_536 // hosts with a certificate, and revoked names
	maxOfName       = 8      // certificates of a name that are listed
	keepExpired     = 30 * 24 * time.Hour
	keepUsed        = 24 * time.Hour // an invitation that is over, to say so to its host

	serialSize = 16
)

var errRegister = errors.New("it is no complete register of certificates: restore it from a backup")

// parseRegister reads the file.
func parseRegister(text []byte) (*register, error) {
	r := new(register)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w (%w)", errRegister, err)
	}
	if r.Version != registerVersion {
		return nil, fmt.Errorf("the register has version %d, and this program knows version %d: update it", r.Version,
			registerVersion)
	}
	if len(r.Names) == 0 {
		return nil, fmt.Errorf("%w (it has no name of the collector)", errRegister)
	}
	for _, c := range r.Certificates {
		if err := join.CheckName(c.Name); err != nil {
			return nil, fmt.Errorf("%w (%w)", errRegister, err)
		}
	}
	for _, x := range r.Revoked {
		if x.Through > r.Sequence {
			return nil, fmt.Errorf("%w (certificate %d of %q is revoked, and the last one was "+
				"%d)", errRegister, x.Through,
				x.Name, r.Sequence)
		}
	}
	return r, nil
}

// text is the file.
func (r *register) text() []byte {
	b, _ := json.MarshalIndent(r, "", " ") // texts, numbers and times: this cannot fail
	return append(b, '\n')
}

// clone is a copy that can be changed.
func (r *register) clone() *register {
	next := *r
	next.Certificates, next.Revoked = slices.Clone(r.Certificates), slices.Clone(r.Revoked)
	next.Invitations = slices.Clone(r.Invitations)
	for i := range next.Invitations {
		next.Invitations[i].Used = slices.Clone(next.Invitations[i].Used)
	}
	return &next
}

// nextSerial is the serial number of the next certificate.
func (r *register) nextSerial() *big.Int {
	r.Sequence++
	b := make([]byte, serialSize)
	binary.BigEndian.PutUint64(b, r.Sequence)
	rand.Read(b[8:]) // never fails
	return new(big.Int).SetBytes(b)
}

// serialText is a serial number as lists show it: 32 hexadecimal digits.
func serialText(n *big.Int) string {
	b := make([]byte, serialSize)
	if n.Sign() < 0 || n.BitLen() > 8*serialSize {
		return n.Text(16)
	}
	return hex.EncodeToString(n.FillBytes(b))
}

// sequenceOf is the number in a serial number.
func sequenceOf(n *big.Int) uint64 { return new(big.Int).Rsh(n, 8*serialSize/2).Uint64() }

// add records a certificate.
func (r *register) add(c record) {
	r.Certificates = append(r.Certificates, c)
	n := 0
	for i := len(r.Certificates) - 1; i >= 0; i-- {
		if r.Certificates[i].Name != c.Name {
			continue
		}
		if n++; n > maxOfName {
			r.Certificates = slices.Delete(r.Certificates, i, i+1)
		}
	}
}

// last is the newest certificate of a name; nil: there is none.
func (r *register) last(name string) *record {
	for i := len(r.Certificates) - 1; i >= 0; i-- {
		if r.Certificates[i].Name == name {
			return &r.Certificates[i]
		}
	}
	return nil
}

// through is up to which number the certificates of a name are refused.
func (r *register) through(name string) uint64 {
	if i := slices.IndexFunc(r.Revoked, func(x revocation) bool { return x.Name == name }); i >= 0 {
		return r.Revoked[i].Through
	}
	return 0
}

// full reports whether there is no room for another name.
func (r *register) full(name string) bool {
	names := map[string]bool{name: true}
	for _, c := range r.Certificates {
		names[c.Name] = true
	}
	return len(names) > maxNames
}

// prune forgets what is long over. Revocations stay: a clock that is wrong for an hour must not
// bring back a stolen certificate.
func (r *register) prune(now time.Time) (changed bool) {
	n := len(r.Certificates) + len(r.Invitations)
	r.Certificates = slices.DeleteFunc(r.Certificates, func(c record) bool {
		return now.Sub(c.Expires) > keepExpired
	})
	r.Invitations = slices.DeleteFunc(r.Invitations, func(i invitation) bool { return now.Sub(i.Expires) > keepUsed })
	return len(r.Certificates)+len(r.Invitations) != n
}
