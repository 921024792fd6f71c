package collector

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html"
	"io"
	"net/http"
	"strings"

	"fanin/internal/access"
)

//go:embed login.html
var loginForm string

// maxLogin is how many bytes the form may send.
const maxLogin = 8 << 10

// cookie is the name of the cookie of a session. It has the log's id: browsers send the cookies of
// one port of a host to all of its ports. With the prefix __Host-, no other site can set it.
func (x *web) cookie(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-fanin-" + x.id()
	}
	return "fanin-" + x.id()
}

// handleLogin adds the requests of the login.
func (x *web) handleLogin(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		text := ""
		if !x.access.LogsIn(x.peer(r)) {
			text = "No login is possible here: tokens are accepted over https, or from the collector's own machine, " +
				"and if a tokens_file is configured."
		}
		form(w, http.StatusOK, text)
	})
	mux.HandleFunc("POST /login", x.login)
	mux.HandleFunc("POST /logout", x.logout)
}

// formPolicy lets the form have its own style, and nothing else.
func formPolicy() string {
	_, rest, _ := strings.Cut(loginForm, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// form answers with the form, and a message above it.
func form(w http.ResponseWriter, code int, message string) {
	if message != "" {
		message = `<p role="alert">` + html.EscapeString(message) + `</p>`
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", formPolicy())
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	io.WriteString(w, strings.Replace(loginForm, "<!-- message -->", message, 1))
}

// login begins a session for the token in a form.
func (x *web) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	if err := r.ParseForm(); err != nil {
		form(w, http.StatusBadRequest, "The form cannot be read.")
		return
	}
	c, err := x.access.Identify(x.peer(r), strings.TrimSpace(r.PostForm.Get("token")))
	if err == nil {
		err = access.Require(c, access.Read)
	}
	if err != nil {
		code, _ := x.refusal(w.Header(), r, c, err)
		form(w, code, sentence(err))
		return
	}
	x.setCookie(w, r, x.access.Begin(c), int(access.SessionTime.Seconds()))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// sentence is an error for the page.
func sentence(err error) string {
	var why *access.Refused
	if !errors.As(err, &why) {
		return err.Error()
	}
	switch why.Reason {
	case access.ReasonToken:
		return "This token is not known."
	case access.ReasonLimited:
		return "This token is not known, and too many were tried from this address. Wait a minute."
	case access.ReasonRole:
		return "This token does not have the role read."
	}
	return "The token was sent without encryption, so it is not accepted, and others may know it. Use https, and " +
		"replace the token."
}

// logout ends the sessions of all cookies, and all that they have open: a browser may send several of this name,
// of different paths.
func (x *web) logout(w http.ResponseWriter, r *http.Request) {
	for _, cookie := range r.CookiesNamed(x.cookie(r)) {
		if c, ok := x.access.Resume(x.peer(r), cookie.Value); ok {
			x.access.Finish(c)
		}
	}
	x.setCookie(w, r, "", -1)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (x *web) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: x.cookie(r), Value: value, Path: "/", MaxAge: age, HttpOnly: true,
		Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Cache-Control", "no-store")
}
