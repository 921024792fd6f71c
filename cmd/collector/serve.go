package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"time"
)

// serve answers on ln until close, on a goroutine that ends with it.
func (k *control) serve(ln net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	k.servers = append(k.servers, s)
	go s.Serve(ln)
}

func (k *control) serveTLS(ln net.Listener, c *tls.Config, h http.Handler) {
	k.serve(tls.NewListener(ln, c), h)
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
