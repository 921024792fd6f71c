package collector

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"fanin/internal/config"
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
