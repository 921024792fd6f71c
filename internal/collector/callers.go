package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"fanin/internal/access"
	"fanin/internal/certs"
	"fanin/internal/origin"
)

// roleFor is the role that a request over HTTP needs. What is open needs none, and no proof is
// looked at: probes, the files of the page, which hold no secret, and the way in.
func roleFor(r *http.Request) (role access.Role, open bool) {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/login", "/logout", "/", "/page.js", "/page.css":
		return 0, true
	case "/whoami":
		return 0, false
	}
	if reads(r) {
		return access.Read, false
	}
	return access.Admin, false
}

// reads reports whether a request changes nothing.
func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// peer is the other side of a request.
func (x *web) peer(r *http.Request) access.Peer {
	p := access.Peer{Address: origin.Parse(r.RemoteAddr)}
	if r.TLS != nil {
		p.Encrypted, p.Names = true, certs.PeerNames(*r.TLS)
	}
	return p
}

// caller returns the caller of a request: by its token, or else by its cookie, or else by its connection.
// The cookie of another collector, or of a session that is over, is none.
func (x *web) caller(r *http.Request) (access.Caller, error) {
	p := x.peer(r)
	if token, ok := bearer(r); ok {
		return x.access.Identify(p, token)
	}
	for _, cookie := range r.CookiesNamed(x.cookie(r)) {
		if c, ok := x.access.Resume(p, cookie.Value); ok {
			return c, nil
		}
	}
	return x.access.Anonymous(p), nil
}

// bearer is the token in a request's header (RFC 6750).
func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// answer lets next answer what its caller may ask for. The request's context ends when the caller
// loses the role meanwhile.
func (x *web) answer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	role, open := roleFor(r)
	if open {
		next.ServeHTTP(w, r)
		return
	}
	c, err := x.caller(r)
	if err == nil {
		err = access.Require(c, role)
	}
	if err != nil {
		x.refuse(w, r, c, err)
		return
	}
	ctx, cancel := context.WithCancel(access.With(r.Context(), c))
	defer cancel()
	defer x.access.Hold(c, role, cancel)()
	next.ServeHTTP(w, r.WithContext(ctx))
}

// refuse answers that a caller may not ask this, and how it could.
func (x *web) refuse(w http.ResponseWriter, r *http.Request, c access.Caller, err error) {
	code, text := x.refusal(w.Header(), r, c, err)
	http.Error(w, text, code)
}

// refusal counts and logs that a caller is refused, and sets the headers of the answer.
func (x *web) refusal(h http.Header, r *http.Request, c access.Caller, err error) (code int, text string) {
	var why *access.Refused
	reason := access.ReasonRole
	if errors.As(err, &why) {
		reason = why.Reason
	}
	code, text = http.StatusForbidden, err.Error()
	switch {
	case reason == access.ReasonLimited:
		code = http.StatusTooManyRequests
		h.Set("Retry-After", "60")
	case reason == access.ReasonToken:
		code = http.StatusUnauthorized
	case reason == access.ReasonRole && !c.HasToken() && x.access.LogsIn(x.peer(r)):
		code = http.StatusUnauthorized
		text += "; log in at /login, or send a token as Authorization: Bearer TOKEN"
	case reason == access.ReasonRole && !c.HasToken() && !c.Encrypted:
		text += "; tokens are accepted over https only, or from this machine"
	}
	if code == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="fanin"`)
	}
	x.count(r, reason, err)
	return code, text
}

// count counts and logs a request that is refused.
func (x *web) count(r *http.Request, reason string, err error) {
	x.refused[reason].Inc()
	x.log.Warn(reason, "a request over HTTP was refused", "err", err, "method", r.Method, "path", r.URL.Path,
		"peer", r.RemoteAddr)
}

// whoami is the answer to GET /whoami.
type whoami struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"` // what the name is of: "token", "certificate", "address", "uid"
	Roles   []string `json:"roles"`
	Login   bool     `json:"login"`   // it could log in with a token
	Session bool     `json:"session"` // it is logged in
}

// whoami answers with the caller itself.
func (c *server) whoami(ctx context.Context, _ url.Values) (any, error) {
	who := access.From(ctx)
	return whoami{Name: who.Name, Kind: who.Kind, Roles: who.Roles.Names(),
		Login: who.Address.IsValid() && c.access.LogsIn(who.Peer), Session: who.InSession()}, nil
}

// ofSocket returns the context of a connection to the control socket. Its caller may read. Root and the
// collector's own user have all roles: both could change the files of the state as well.
func ofSocket(ctx context.Context, nc net.Conn) context.Context {
	uid, name := credentials(nc)
	return access.With(ctx, access.Caller{Kind: "uid", Name: name, Roles: rolesOf(uid)})
}

func rolesOf(uid int) access.Role {
	if uid == 0 || uid == os.Geteuid() {
		return access.All
	}
	return access.Read
}

// ownerOnly lets callers of the control socket change something, ask the authority or look into the process only
// if they have the role admin.
func ownerOnly(next *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role := access.Read
		if !reads(r) || strings.HasPrefix(r.URL.Path, "/pki/") || strings.HasPrefix(r.URL.Path, "/debug/") {
			role = access.Admin
		}
		if c := access.From(r.Context()); !c.Roles.Has(role) {
			http.Error(w, fmt.Sprintf("%s may only look: run this as root, or as the user of the collector (uid %d)",
				c.String(), os.Geteuid()), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
