package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/rig"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// backlogBytes is what a group without workers leaves behind it.
const backlogBytes = 20 << 30

// backlog fills a log of 20 GiB while a group without a worker needs all of
// it. More is by how much the collector's memory grew after the first lines; P50 and P99 are how long
// the live tail took to show the first line since a time, over the whole log, when all its files
// but the newest are compressed.
func (b *bench) backlog(s subject) (r sample, err error) {
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	s.command = rotating(withWork(s.command, port))
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(t.dir)
	defer t.stop()
	if err := makeGroup(address(port)); err != nil {
		return r, err
	}
	first := newBlock(0)
	size := int64(backlogBytes)
	if b.quick {
		size /= 10
	}
	lines := int(size / (int64(len(first.text))/int64(len(first.ends)) + 45) / 8 * 8)
	for range 2 { // who takes lines at all needs some memory for that
		if err := sendNow("send", t.port, 2_000_000); err != nil {
			return r, err
		}
	}
	h, err := prepare("send", address(t.port), 8, lines/8)
	if err != nil {
		return r, err
	}
	time.Sleep(time.Second)
	r.More = -t.memory("VmRSS")
	if err := h.begin(); err != nil {
		return r, err
	}
	begun := time.Now()
	if err := h.ready(); err != nil {
		return r, err
	}
	r.Seconds, r.Lines = time.Since(begun).Seconds(), lines
	ended := time.Now()
	r.More += t.memory("VmRSS")
	h.begin()
	h.cmd.Wait()
	socket := filepath.Join(t.dir, "state", "control.sock")
	if _, _, err := t.compressed(socket); err != nil {
		return r, err
	}
	r.P50, r.P99, err = firstLines(socket, begun, ended)
	return r, err
}

// firstLines asks for the lines since each of 20 times, and returns the median and the worst of how
// many milliseconds the first line took.
func firstLines(socket string, begun, ended time.Time) (median50, worst float64, err error) {
	var took []float64
	for i := range 20 {
		at := begun.Add(ended.Sub(begun) * time.Duration(i) / 20)
		ms, err := firstLine(socket, at)
		if err != nil {
			return 0, 0, err
		}
		took, worst = append(took, ms), max(worst, ms)
	}
	return median(took), worst, nil
}

// rotating is a command of fanin that rotates its log.
func rotating(plain commander) commander {
	return adjusted(plain, `rotate_size = "off"`, `rotate_size = "256MiB"`)
}

// sendNow sends lines over eight connections, as a role does.
func sendNow(role string, port, lines int) error {
	h, err := prepare(role, address(port), 8, lines/8)
	if err != nil {
		return err
	}
	return errors.Join(h.begin(), h.end())
}

// makeGroup has a worker come and go.
func makeGroup(address string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := worker.Worker{Address: address, Options: protocol.Hello{Group: "behind", From: "start"}, Welcomed: func(protocol.Welcome) { cancel() },
		Handle: func(context.Context, *worker.Delivery) error { return worker.ErrRelease }}
	return w.Run(ctx)
}

// control is a client of a control socket.
func control(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// firstLine asks for the lines since a time, and says how many milliseconds the
// first one took.
func firstLine(socket string, at time.Time) (float64, error) {
	begun := time.Now()
	resp, err := control(socket).Get("http://collector/tail?follow=0&since=" + url.QueryEscape(at.UTC().Format(time.RFC3339Nano)))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if line, ok := strings.CutPrefix(in.Text(), "data: "); ok {
			if line < at.UTC().Format("2006-01-02T15:04:05.000000Z") {
				return 0, fmt.Errorf("since %s: the first line is %.80s", at, line)
			}
			return float64(time.Since(begun).Microseconds()) / 1000, nil
		}
	}
	return 0, errors.New("no line came")
}
