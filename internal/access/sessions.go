package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"log/slog"
	"os"
	"sync"
	"time"

	"fanin/internal/disk"
)

// SessionTime is how long a session lasts.
const SessionTime = 12 * time.Hour

// Sessions makes the cookies of sessions, and checks them. A cookie has all that is to be known
// of its session, with a signature: so sessions need no table that strangers could fill, and
// outlive a restart of the collector. Its value is this, in base64url without padding:
//
//	 0   1  version: 1
//	 1   8  when the session ends, seconds since 1970, big endian
//	 9   8  random number of the session
//	17  16  first half of the hash of its token
//	33  32  HMAC-SHA-256 of the bytes before, with the key in the state directory
type Sessions struct {
	mu  sync.Mutex
	key []byte
	out map[sessionID]time.Time // sessions that were ended, and when they would have ended
}

const (
	sessionVersion = 1
	sessionSigned  = 33
	sessionSize    = sessionSigned + sha256.Size
	maxOut         = 4096 // sessions that were ended and are remembered
)

type sessionID [8]byte

// session is what a cookie says.
type session struct {
	until time.Time
	id    sessionID
	token [16]byte
}

// of reports whether a session is of a token.
func (s *session) of(h *Hash) bool { return hmac.Equal(s.token[:], h[:len(s.token)]) }

// OpenKey reads the key of the cookies, or makes one: sessions that another key signed are over.
// Only the first call counts.
func (s *Sessions) OpenKey(path string, log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return
	}
	b, err := disk.ReadFile(path)
	if err == nil && len(b) == sha256.Size {
		s.key = b
		return
	}
	if err == nil || !os.IsNotExist(err) {
		log.Warn("the key of the sessions cannot be used; a new one is made, and all who were logged in have to log "+
			"in again", "file", path, "err", err, "bytes", len(b))
	}
	s.key = make([]byte, sha256.Size)
	rand.Read(s.key) // never fails
	if err := new(disk.Disk).WriteFile(path, s.key, 0o600); err != nil {
		log.Warn("the key of the sessions cannot be kept: they end with the collector", "file", path, "err", err)
	}
}

// secret is the key; nil: there is none yet.
func (s *Sessions) secret() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// begin returns the cookie of a new session.
func (s *Sessions) begin(token *Hash, now time.Time) string {
	b := make([]byte, sessionSigned, sessionSize)
	b[0] = sessionVersion
	binary.BigEndian.PutUint64(b[1:], uint64(now.Add(SessionTime).Unix()))
	rand.Read(b[9:17]) // never fails
	copy(b[17:], token[:])
	return base64.RawURLEncoding.EncodeToString(s.sign(b))
}

// sign appends the signature of b.
func (s *Sessions) sign(b []byte) []byte {
	mac := hmac.New(sha256.New, s.secret())
	mac.Write(b)
	return mac.Sum(b)
}

// parse returns the session of a cookie that is signed and not over.
func (s *Sessions) parse(cookie string, now time.Time) (*session, bool) {
	if len(cookie) != base64.RawURLEncoding.EncodedLen(sessionSize) {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(b) != sessionSize || b[0] != sessionVersion || s.secret() == nil ||
		!hmac.Equal(s.sign(b[:sessionSigned:sessionSigned]), b) {
		return nil, false
	}
	x := &session{until: time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0), id: sessionID(b[9:17]),
		token: [16]byte(b[17:33])}
	return x, !s.over(x, now)
}

// over reports whether a session has ended.
func (s *Sessions) over(x *session, now time.Time) bool {
	if now.After(x.until) || now.Before(x.until.Add(-SessionTime-time.Minute)) {
		return true // in the second case the clock was set back
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, out := s.out[x.id]
	return out
}

// finish ends a session before its time. It is remembered until a restart at least, unless
// thousands are ended within hours.
func (s *Sessions) finish(x *session, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		s.out = make(map[sessionID]time.Time)
	}
	for id, until := range s.out {
		if now.After(until) || len(s.out) >= maxOut {
			delete(s.out, id)
		}
	}
	s.out[x.id] = x.until
}
