package agent

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
	"fanin/internal/join"
)

// identity is what `join` gives an agent, and what it renews itself: the files in STATE/tls.
//
//	identity.pem  0600  its certificate, then its key (PEM): one file, so that both change at once
//	ca.crt        0600  the authorities that it trusts
//	joining.key   0600  while it joins: the key, so that a repeated attempt has the same one
//
// identity.pem and joining.key begin with a line that names the invitation, "# invitation ID": a
// repeated `join` knows what is done already.
type identity struct {
	dir  string
	disk disk.Disk
}

func newIdentity(state string) *identity { return &identity{dir: filepath.Join(state, "tls")} }

func (i *identity) path() string    { return filepath.Join(i.dir, "identity.pem") }
func (i *identity) ca() string      { return filepath.Join(i.dir, "ca.crt") }
func (i *identity) joining() string { return filepath.Join(i.dir, "joining.key") }

const invitationMark = "# invitation "

// mark is the first line of files that belong to an invitation.
func mark(t *join.Token) string {
	hash := t.Secret.Hash()
	return invitationMark + hex.EncodeToString(hash[:8]) + "\n"
}

// mark is the first line of identity.pem if it is a mark, else "". A renewed certificate is of the same
// invitation.
func (i *identity) mark() (string, error) {
	text, err := disk.ReadFile(i.path())
	first, _, _ := strings.Cut(string(text), "\n")
	if err != nil || !strings.HasPrefix(first, invitationMark) {
		return "", err
	}
	return first + "\n", nil
}

// marked returns a file that begins with a mark; nil: there is none.
func marked(path, mark string) ([]byte, error) {
	text, err := disk.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(text), mark) {
		return nil, nil
	}
	return text, err
}

// key returns the key with which to join: that of an attempt with the same token, or a new one,
// which is stored before it is used.
func (i *identity) key(mark string) (crypto.Signer, error) {
	text, err := marked(i.joining(), mark)
	if err != nil {
		return nil, err
	}
	if text != nil {
		if key, err := parseKey(text); err == nil {
			return key, nil
		} // else the disk was not synced: nothing was sent
	}
	key, err := join.NewKey()
	if err != nil {
		return nil, err
	}
	block, err := keyBlock(key)
	if err != nil {
		return nil, err
	}
	return key, i.write(i.joining(), append([]byte(mark), pem.EncodeToMemory(block)...))
}

func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != keyType {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, fmt.Errorf("the key cannot be used: %w", err)
	}
	return nil, errors.New("there is no key")
}

const keyType = "PRIVATE KEY"

func keyBlock(key crypto.Signer) (*pem.Block, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &pem.Block{Type: keyType, Bytes: der}, err
}

// store stores a certificate with its key. The authorities are first: until the certificate is
// there as well, the old one goes on.
func (i *identity) store(mark string, issued *join.Issued, key crypto.Signer) error {
	var trusted bytes.Buffer
	for _, c := range issued.Authorities {
		pem.Encode(&trusted, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // into memory
	}
	if have, err := os.ReadFile(i.ca()); err != nil || !bytes.Equal(have, trusted.Bytes()) {
		if err := i.write(i.ca(), trusted.Bytes()); err != nil {
			return err
		}
	}
	block, err := keyBlock(key)
	if err != nil {
		return err
	}
	text := append([]byte(mark), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Leaf.Raw})...)
	return i.write(i.path(), append(text, pem.EncodeToMemory(block)...))
}

func (i *identity) write(path string, text []byte) error {
	return i.disk.WriteFile(path, text, 0o600)
}

// certificate reads the certificate.
func (i *identity) certificate() (*x509.Certificate, error) {
	text, err := disk.ReadFile(i.path())
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", i.path())
	}
	return x509.ParseCertificate(block.Bytes)
}
