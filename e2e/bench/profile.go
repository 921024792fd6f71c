package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// profile takes a CPU profile of a fanin collector while it works, if asked to.
func (b *bench) profile(t *trial, name string, lines int) (done <-chan struct{}) {
	end := make(chan struct{})
	if b.pprof == "" || !t.subject.ours {
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
	profile, err := t.ask(fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.pprof, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.pprof, name+"-"+t.subject.name+".pprof"), profile, 0o644)
}

// ask asks a fanin collector over its control socket.
func (t *trial) ask(path string) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(t.dir, "state", "control.sock"))
	}}}
	resp, err := client.Get("http://collector" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// dropped is how many datagrams a fanin collector says that it lost.
func (t *trial) dropped() (n int, err error) {
	metrics, err := t.ask("/metrics")
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, "fanin_udp_dropped_datagrams_total{") {
			_, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
			lost, _ := strconv.ParseFloat(value, 64)
			n += int(lost)
		}
	}
	return n, err
}
