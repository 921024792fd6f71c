package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"

	"time"

	"fanin/internal/config"
	"fanin/internal/disk"
)

const (
	defaultHeaderTimeout = config.Duration(5 * time.Second)
	defaultIdleTimeout   = config.Duration(time.Minute)
)

// serve answers on ln until close, on a goroutine that ends with it.
func (k *control) serve(ln net.Listener, s *http.Server) {
	s.ReadTimeout, s.WriteTimeout, s.MaxHeaderBytes = 10*time.Second, 2*time.Minute, 16<<10
	k.servers = append(k.servers, s)
	go s.Serve(ln)
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

// fit keeps a bound on connections within a quarter of the descriptors that the
// process may have: the log's files and the intake need them more.
func fit(most int, log *slog.Logger) int {
	limit := disk.OpenLimit()
	if quarter := limit / 4; most < 0 || most > quarter {
		if most > 0 && log != nil {
			log.Warn("fewer connections are taken than max_conns or max_workers allow: raise the limit of open files (LimitNOFILE, ulimit -n)", "wanted", most, "taken", quarter, "open_files", limit)
		}
		return quarter
	}
	return most
}
