package join

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Answer is what the collector sends, once on a connection:
//
//	 0        2         3         4
//	+----------+---------+---------+-----------------------------------------------------+
//	| length L | version | outcome |                                                     |
//	| 2, BE    | 1       | 1       | the rest, by the outcome                            |
//	+----------+---------+---------+-----------------------------------------------------+
//	  outcome 0: certificate, then 1 to 8 authorities, each: length (2, BE), X.509 in DER
//	  outcome 1: seconds to wait (4, BE; 0: do not try again), text for a person in UTF-8
//
// L counts what follows it. The first authority signed the certificate; the host trusts all.
type Answer struct {
	Certificate []byte   // nil: refused
	Authorities [][]byte // from now on trusted by the host
	Refused              // if there is no certificate
}

const (
	outcomeIssued  = 0
	outcomeRefused = 1

	maxCertificate = 4 << 10
	maxAuthorities = 8
	maxReason      = 1 << 10
	maxAnswer      = 2 + (1+maxAuthorities)*(2+maxCertificate)
)

// Append appends the answer as it is sent.
func (a *Answer) Append(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, version)
	if a.Certificate == nil {
		reason := a.Reason[:min(len(a.Reason), maxReason)]
		seconds := min(max(a.Wait.Seconds(), 0), math.MaxUint32)
		b = binary.BigEndian.AppendUint32(append(b, outcomeRefused), uint32(seconds))
		b = append(b, strings.ToValidUTF8(reason, "")...)
	} else {
		b = append16(append(b, outcomeIssued), a.Certificate)
		for _, der := range a.Authorities {
			b = append16(b, der)
		}
	}
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

func append16(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(part))), part...)
}

// ReadAnswer reads one answer, and at most as many bytes as one may have.
func ReadAnswer(in io.Reader) (*Answer, error) {
	b, err := readFrame(in, maxAnswer)
	if err != nil {
		return nil, err
	}
	return parseAnswer(b)
}

func parseAnswer(b []byte) (*Answer, error) {
	switch {
	case len(b) < 2:
		return nil, fmt.Errorf("%w: an answer of %d bytes", errFormat, len(b))
	case b[0] != version:
		return nil, fmt.Errorf("%w: the answer is of version %d, and this program knows version %d: update "+
			"it", errFormat,
			b[0], version)
	case b[1] == outcomeIssued:
		return parseIssued(b[2:])
	case b[1] == outcomeRefused && len(b) >= 6 && len(b) <= 6+maxReason:
		wait := time.Duration(binary.BigEndian.Uint32(b[2:])) * time.Second
		return &Answer{Refused: Refused{strings.ToValidUTF8(string(b[6:]), "?"), wait}}, nil
	}
	return nil, fmt.Errorf("%w: an answer with outcome %d and %d bytes", errFormat, b[1], len(b))
}

func parseIssued(b []byte) (*Answer, error) {
	var parts [][]byte
	for len(b) > 0 {
		if len(b) < 2 || len(parts) > maxAuthorities {
			return nil, fmt.Errorf("%w: an answer with too many or broken certificates", errFormat)
		}
		n := int(binary.BigEndian.Uint16(b))
		if n == 0 || n > maxCertificate || n > len(b)-2 {
			return nil, fmt.Errorf("%w: an answer with a certificate of %d bytes", errFormat, n)
		}
		parts = append(parts, b[2:2+n])
		b = b[2+n:]
	}
	if len(parts) < 2 {
		return nil, fmt.Errorf("%w: an answer with %d certificates", errFormat, len(parts))
	}
	return &Answer{Certificate: parts[0], Authorities: parts[1:]}, nil
}
