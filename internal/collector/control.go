package collector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/config"
	"fanin/internal/daemon"
)

const (
	controlName    = "control.sock"
	sessionKeyName = "session-key"
)

// control serves HTTP on a socket in the state directory.
type control struct {
	servers []*http.Server
	socket  string
	own     http.Handler // of the socket
	log     *slog.Logger
}

// serveControl opens the control socket.
func (c *server) serveControl() (*control, error) {
	k := &control{socket: filepath.Join(c.settings.state(), controlName)}
	if err := fitsSocket(k.socket); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	os.Remove(k.socket) // it is ours: we hold the lock on the directory
	own := c.handler(true)
	own.HandleFunc("/debug/pprof/", pprof.Index)
	own.HandleFunc("/debug/pprof/profile", pprof.Profile)
	k.own, k.log = ownerOnly(own), c.log
	if err := k.openSocket(); err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return k, nil
}

// openSocket serves the control socket.
func (k *control) openSocket() error {
	ln, err := net.Listen("unix", k.socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(k.socket, controlMode); err != nil {
		ln.Close()
		return err
	}
	k.serve(ln, &http.Server{Handler: http.NewCrossOriginProtection().Handler(k.own), ConnContext: ofSocket,
		ReadHeaderTimeout: time.Duration(defaultHeaderTimeout),
		IdleTimeout:       time.Duration(defaultIdleTimeout),
		ErrorLog:          slog.NewLogLogger(k.log.Handler(), slog.LevelWarn)})
	return nil
}

// keepSocket opens the control socket again after it was deleted, perhaps with
// the whole state directory.
func (c *server) keepSocket() {
	if _, err := os.Lstat(c.control.socket); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := c.control.openSocket(); err == nil { // else the directory is missing, which the sink reports
		c.log.Warn("the control socket was deleted by another process; it is open again", "socket", c.control.socket)
	}
}

const (
	defaultHeaderTimeout = config.Duration(5 * time.Second)
	defaultIdleTimeout   = config.Duration(time.Minute)
)

// serve answers on ln until close, on a goroutine that ends with it.
func (k *control) serve(ln net.Listener, s *http.Server) {
	k.servers = append(k.servers, bounded(s))
	go s.Serve(ln)
}

// bounded bounds what a request and its answer may take.
func bounded(s *http.Server) *http.Server {
	s.ReadTimeout, s.WriteTimeout, s.MaxHeaderBytes = 10*time.Second, 2*time.Minute, 16<<10
	return s
}

func (k *control) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, s := range k.servers {
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	}
	os.Remove(k.socket)
}
