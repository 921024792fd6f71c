package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"slices"
)

// sessions lets a connection resume the TLS session of an earlier one, which needs neither
// certificates nor signatures. Both sides then see the certificate that the other one showed
// when the session began. So sessions belong to the files with which they began: where a file
// of either side changes, the next handshake is a whole one. What a Gate revokes is refused
// in both kinds, and so is what has expired.
type sessions struct {
	resumable  tls.ClientSessionCache // of a client
	generation []byte                 // of a server: is in each ticket
}

// mostSessions is for how many servers a client keeps a session.
const mostSessions = 16

func newSessions() sessions {
	s := sessions{tls.NewLRUClientSessionCache(mostSessions), make([]byte, 16)}
	rand.Read(s.generation) // never fails, see crypto/rand
	return s
}

// offer makes a server's configuration give out tickets for sessions, and take those of the same
// files. The keys of keeper seal them.
func (s *sessions) offer(c, keeper *tls.Config) {
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, s.generation)
		return keeper.EncryptTicket(state, session)
	}
	c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := keeper.DecryptTicket(ticket, state)
		if err != nil || session == nil ||
			!slices.ContainsFunc(session.Extra, func(b []byte) bool { return bytes.Equal(b, s.generation) }) {
			return nil, nil // a whole handshake follows
		}
		return session, nil
	}
}
