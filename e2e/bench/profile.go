package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// profile takes a CPU profile of a fanin collector while it works, if asked to.
func (b *bench) profile(t *trial, name string, lines int) (done <-chan struct{}) {
	end := make(chan struct{})
	if b.pprof == "" || t.subject.agent == nil || t.subject.name == "rsyslog" {
		close(end)
		return end
	}
	seconds := max(1, lines/4_000_000)
	go func() { // ends with the profile
		defer close(end)
		if err := b.takeProfile(t, name, seconds); err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
		}
	}()
	return end
}

func (b *bench) takeProfile(t *trial, name string, seconds int) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(t.dir, "state", "control.sock"))
	}}}
	resp, err := client.Get(fmt.Sprintf("http://collector/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := os.MkdirAll(b.pprof, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(b.pprof, name+"-"+t.subject.name+".pprof"))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, resp.Body)
	return err
}
