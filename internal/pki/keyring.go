package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"fanin/internal/join"
)

// keyring is the authority with those before it that are still trusted. Its file is PEM (RFC
// 7468), with these blocks in this order:
//
//	CERTIFICATE                      the authority
//	PRIVATE KEY                      its key (PKCS #8)
//	and for each authority before it, the newest first, at most 4:
//	FANIN OLDER AUTHORITY            its certificate; header Trusted-Until: RFC 3339
//	FANIN CROSS CERTIFICATE          the certificate that it gave to the authority after it
//
// The key of an older authority is gone: it signs nothing any more. With the cross certificate,
// who trusts only the older one accepts what the next one signs.
type keyring struct {
	cert  *x509.Certificate
	key   crypto.Signer
	older []older
}

// older is an authority that was replaced.
type older struct {
	cert, cross *x509.Certificate
	until       time.Time // trusted
}

const (
	blockCert  = "CERTIFICATE"
	blockKey   = "PRIVATE KEY"
	blockOlder = "FANIN OLDER AUTHORITY"
	blockCross = "FANIN CROSS CERTIFICATE"
	untilKey   = "Trusted-Until"
	maxOlder   = 4
)

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newKeyring makes an authority.
func newKeyring(now time.Time) (*keyring, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	t := authorityTemplate(now)
	if t.SubjectKeyId, err = keyID(key.Public()); err != nil {
		return nil, err
	}
	t.Subject = pkix.Name{CommonName: "fanin authority " + hex.EncodeToString(t.SubjectKeyId[:4])}
	cert, err := issue(t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &keyring{cert: cert, key: key}, nil
}

func authorityTemplate(now time.Time) *x509.Certificate {
	serial := make([]byte, serialSize)
	rand.Read(serial[serialSize/2:]) // never fails; number 0 is of no host's certificate
	return &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial), NotBefore: now.Add(-backdate),
		NotAfter: now.Add(AuthorityValid), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
}

// keyID is the first 20 bytes of the SHA-256 of a public key (RFC 7093).
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	pin := join.PinOf(&x509.Certificate{RawSubjectPublicKeyInfo: der})
	return pin[:20], nil
}

// issue makes a certificate.
func issue(t, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// replaced returns a keyring with a new authority, which trusts those of k until a time.
func (k *keyring) replaced(now, until time.Time) (*keyring, error) {
	overlap := until.After(now)
	if overlap && len(k.trusted(now).older) >= maxOlder {
		return nil, fmt.Errorf("%d authorities before this one are still trusted, the oldest until %s: wait, or set "+
			"--overlap 0, which ends trust in all of them at once", maxOlder,
			k.older[len(k.older)-1].until.UTC().Format(time.RFC3339))
	}
	next, err := newKeyring(now)
	if err != nil || !overlap {
		return next, err
	}
	t := authorityTemplate(now)
	t.Subject, t.SubjectKeyId, t.NotAfter = next.cert.Subject, next.cert.SubjectKeyId, k.cert.NotAfter
	cross, err := issue(t, k.cert, next.key.Public(), k.key)
	if err != nil {
		return nil, err
	}
	next.older = append([]older{{k.cert, cross, until}}, k.older...)
	return next.trusted(now), nil
}

// trusted returns the keyring without the authorities whose time is over.
func (k *keyring) trusted(now time.Time) *keyring {
	next := &keyring{cert: k.cert, key: k.key}
	for _, o := range k.older {
		if now.Before(o.until) {
			next.older = append(next.older, o)
		}
	}
	return next
}

// authorities are those that are trusted, the present one first.
func (k *keyring) authorities() (all []*x509.Certificate) {
	all = append(all, k.cert)
	for _, o := range k.older {
		all = append(all, o.cert)
	}
	return all
}

// text is the file.
func (k *keyring) text() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	blocks := []*pem.Block{{Type: blockCert, Bytes: k.cert.Raw}, {Type: blockKey, Bytes: der}}
	for _, o := range k.older {
		until := map[string]string{untilKey: o.until.UTC().Format(time.RFC3339)}
		blocks = append(blocks, &pem.Block{Type: blockOlder, Headers: until, Bytes: o.cert.Raw},
			&pem.Block{Type: blockCross, Bytes: o.cross.Raw})
	}
	for _, block := range blocks {
		if err := pem.Encode(&b, block); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

var errKeyring = errors.New("it is no complete file of an authority: restore it from a backup")

// parseKeyring reads the file.
func parseKeyring(text []byte) (*keyring, error) {
	k := new(keyring)
	var types []string
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if types = append(types, block.Type); len(types) > 2+2*maxOlder {
			return nil, errKeyring
		}
		if err := k.add(block, len(types)-1); err != nil {
			return nil, fmt.Errorf("%w (%w)", errKeyring, err)
		}
	}
	if len(types) < 2 || len(types)%2 != 0 {
		return nil, errKeyring
	}
	public, ok := k.cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !public.Equal(k.key.Public()) {
		return nil, fmt.Errorf("%w (its key is another certificate's)", errKeyring)
	}
	return k, nil
}

// add adds the block at a place.
func (k *keyring) add(block *pem.Block, at int) (err error) {
	want := [...]string{blockCert, blockKey, blockOlder, blockCross}[min(at, 2+at%2)]
	if block.Type != want {
		return fmt.Errorf("block %d is a %.40q, and not a %q", at, block.Type, want)
	}
	if want == blockKey {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		signer, ok := key.(crypto.Signer)
		if err == nil && !ok {
			err = errors.New("the key cannot sign")
		}
		k.key = signer
		return err
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	switch want {
	case blockCert:
		k.cert = cert
	case blockOlder:
		until, err := time.Parse(time.RFC3339, block.Headers[untilKey])
		k.older = append(k.older, older{cert: cert, until: until})
		return err
	case blockCross:
		k.older[len(k.older)-1].cross = cert
	}
	return nil
}
