package collector

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fanin/internal/access"
)

// TestControlSocketOwner: at the control socket, other users than root and the collector's own may look, and can
// change nothing, ask the authority nothing, and not look into the process.
func TestControlSocketOwner(t *testing.T) {
	for uid, want := range map[int]access.Role{0: access.All, os.Geteuid(): access.All, -1: access.Read, 4_000_000: access.Read} {
		if got := rolesOf(uid); got != want {
			t.Errorf("uid %d has %v, want %v", uid, got, want)
		}
	}
	c, _ := configured(t, "")
	own := c.control.own
	for _, pattern := range append([]string{"GET /debug/pprof/heap", "GET /debug/pprof/profile"}, keysOf(c.routes())...) {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.TrimSuffix(path, "{$}")
		r := httptest.NewRequest(method, path+"?follow=0", nil)
		w := httptest.NewRecorder()
		own.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Caller{Kind: "uid", Name: "4711 pid 1", Roles: access.Read})))
		refused := method == "POST" || strings.HasPrefix(path, "/pki/") || strings.HasPrefix(path, "/debug/")
		if (w.Code == 403) != refused {
			t.Errorf("%s: %d %q", pattern, w.Code, w.Body)
		}
		if text := w.Body.String(); refused && (!strings.Contains(text, "uid 4711 pid 1 may only look") || !strings.Contains(text, "as root")) {
			t.Errorf("%s: %q", pattern, text)
		}
	}
	if got := c.asked(t, "POST", "/reopen"); got != "{}" {
		t.Errorf("the collector's own user gets %q", got)
	}
	if os.Getuid() != 0 {
		t.Log("not run as another user: this is not root")
		return
	}
	c.askAsAnother(t)
}

func keysOf[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// askAsAnother asks over the socket itself, as a user that may open it, such as one of the collector's group.
func (c *server) askAsAnother(t *testing.T) {
	t.Helper()
	state := c.settings.state()
	for _, path := range []string{filepath.Dir(filepath.Dir(state)), filepath.Dir(state), state, c.control.socket} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	var conns []net.Conn
	var err error
	done := make(chan struct{})
	go func() { // ends with the connections, and its thread with it, which has another user for ever
		defer close(done)
		runtime.LockOSThread()
		const nobody, same = 65534, ^uintptr(0)
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, nobody, same); e != 0 {
			err = e
			return
		}
		for range 3 {
			var nc net.Conn
			if nc, err = net.Dial("unix", c.control.socket); err != nil {
				return
			}
			conns = append(conns, nc)
		}
	}()
	<-done
	if errors.Is(err, fs.ErrPermission) {
		t.Logf("not run as another user: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) error {
		nc := conns[0]
		conns = conns[1:]
		client := socketOf(state)
		client.client.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }}
		return client.ask(t.Context(), method, path, nil)
	}
	if err := ask("GET", "/status"); err != nil {
		t.Errorf("another user cannot look: %v", err)
	}
	for method, path := range map[string]string{"POST": "/rotate", "GET": "/pki/list"} {
		if err := ask(method, path); err == nil || !strings.Contains(err.Error(), "uid 65534 pid ") {
			t.Errorf("another user asks %s: %v", path, err)
		}
	}
	if audits := c.audits(t); len(audits) != 1 || !strings.Contains(audits[0], "reopen") {
		t.Errorf("the audit has %q; want the reopen alone", audits)
	}
}
