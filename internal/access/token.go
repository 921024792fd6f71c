package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Hash is the SHA-256 of a token. Tokens have 130 random bits, so that a hash which is fast
// suffices: what was never guessed cannot be found from it.
type Hash [sha256.Size]byte

// HashOf returns the hash of a token.
func HashOf(token string) Hash { return sha256.Sum256([]byte(token)) }

// equal compares in constant time.
func (h *Hash) equal(other *Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// NewToken returns a new token: "fanin_" and 26 random characters, of 5 bits each.
func NewToken() string { return "fanin_" + rand.Text() }

// Token is one line of a tokens file:
//
//	NAME sha256:HASH       HASH: SHA-256 of the token, 64 hexadecimal digits
//
// Empty lines, and lines that begin with #, are comments. A name is there once.
type Token struct {
	Name string
	Hash Hash
}

// Line returns the token's line, without its end.
func (t *Token) Line() string { return t.Name + " " + hashPrefix + hex.EncodeToString(t.Hash[:]) }

const hashPrefix = "sha256:"

// The bounds of a tokens file.
const (
	maxTokens = 1000
	maxFile   = 256 << 10 // bytes
)

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// CheckName returns what is wrong with the name of a token.
func CheckName(name string) error {
	if !goodName.MatchString(name) {
		return fmt.Errorf("%.80q cannot be the name of a token; want 1 to 64 of A-Z a-z 0-9 . _ @ -, the first a "+
			"letter or a digit", name)
	}
	return nil
}

// ParseTokens reads the text of a tokens file. All mistakes come in one error, which shows
// nothing that may be secret.
func ParseTokens(text string) (tokens []Token, err error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	var problems []error
	names, hashes := make(map[string]int), make(map[Hash]int)
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) { // some editors put it first
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		t, err := parseToken(line)
		switch {
		case err != nil:
		case names[t.Name] > 0:
			err = fmt.Errorf("the name %s is in line %d already; give each token a name of its own", t.Name,
				names[t.Name])
		case hashes[t.Hash] > 0:
			err = fmt.Errorf("the same token is in line %d already", hashes[t.Hash])
		case len(tokens) == maxTokens:
			return nil, fmt.Errorf("line %d: more than %d tokens", number, maxTokens)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		names[t.Name], hashes[t.Hash] = number, number
		tokens = append(tokens, t)
	}
	return tokens, errors.Join(problems...)
}

// parseToken reads one line.
func parseToken(line string) (t Token, err error) {
	fields := strings.Fields(line)
	if len(fields) != 2 {
		return t, fmt.Errorf("it has %d words; want NAME sha256:HASH, as fanin-collector token prints", len(fields))
	}
	t.Name = fields[0]
	if err := CheckName(t.Name); err != nil {
		return t, err
	}
	digits, ok := strings.CutPrefix(fields[1], hashPrefix)
	if n, err := hex.Decode(t.Hash[:], []byte(digits[:min(len(digits), 2*len(t.Hash))])); !ok || err != nil ||
		n != len(t.Hash) || len(digits) != 2*len(t.Hash) {
		return t, fmt.Errorf("behind the name %s is no hash; want sha256: and 64 hexadecimal digits, as "+
			"fanin-collector token prints; the token itself does not belong here", t.Name)
	}
	return t, nil
}
