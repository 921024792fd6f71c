package join

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Kind is what a request is for.
type Kind byte

// The kinds of requests.
const (
	Join  Kind = 1 // with a token's secret
	Renew Kind = 2 // with the present certificate, shown in the TLS handshake
)

// Request is what a host sends, once on a connection:
//
//	 0        2         3      4         24      25      25+N
//	+----------+---------+------+---------+-------+-------+------------------------+
//	| length L | version | kind | secret  | N     | name  | certificate request    |
//	| 2, BE    | 1       | 1    | 20      | 1..64 | N     | PKCS #10, DER, the rest|
//	+----------+---------+------+---------+-------+-------+------------------------+
//
// L counts what follows it. The secret is zero to renew.
type Request struct {
	Kind   Kind
	Secret Secret
	Name   string // the host's
	CSR    []byte // the certificate request; only its public key and its signature count
}

const (
	requestHead = 1 + 1 + SecretSize + 1
	maxCSR      = 4 << 10
	maxRequest  = requestHead + MaxName + maxCSR
)

// Append appends the request as it is sent.
func (r *Request) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(requestHead+len(r.Name)+len(r.CSR)))
	b = append(b, version, byte(r.Kind))
	b = append(b, r.Secret[:]...)
	b = append(append(b, byte(len(r.Name))), r.Name...)
	return append(b, r.CSR...)
}

// ReadRequest reads one request, and at most as many bytes as one may have.
func ReadRequest(in io.Reader) (*Request, error) {
	b, err := readFrame(in, maxRequest)
	if err != nil {
		return nil, err
	}
	return parseRequest(b)
}

func parseRequest(b []byte) (*Request, error) {
	if len(b) < requestHead {
		return nil, fmt.Errorf("%w: a request of %d bytes", errFormat, len(b))
	}
	if b[0] != version {
		return nil, fmt.Errorf("%w: the request is of version %d; this collector knows version %d", errFormat, b[0],
			version)
	}
	r := &Request{Kind: Kind(b[1])}
	if r.Kind != Join && r.Kind != Renew {
		return nil, fmt.Errorf("%w: a request of kind %d", errFormat, b[1])
	}
	b = b[2:]
	b = b[copy(r.Secret[:], b):]
	var ok bool
	if r.Name, b, ok = text8(b); !ok || len(b) == 0 || len(b) > maxCSR {
		return nil, fmt.Errorf("%w: the request ends early, or has too long a certificate request", errFormat)
	}
	if err := CheckName(r.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", errFormat, err)
	}
	r.CSR = b
	return r, nil
}

// readFrame reads bytes with their length in two bytes before them.
func readFrame(in io.Reader, most int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > most {
		return nil, fmt.Errorf("%w: %d bytes are announced, and at most %d are allowed", errFormat, n, most)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(in, b)
	return b, err
}
