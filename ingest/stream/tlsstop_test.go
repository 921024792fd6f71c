package stream_test

import (
	"context"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/syslog"
	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

// TestStopReadsTLS: what came before a stop is written, encrypted or not: what the socket has, and
// what package tls took from it and nothing has read yet.
func TestStopReadsTLS(t *testing.T) {
	ca := certstest.New(t)
	k, appending, goOn := ingesttest.NewRecorder(), make(chan bool, 99), make(chan bool)
	k.Outcome = func(context.Context, wire.Batch) error {
		appending <- true
		<-goOn
		return nil
	}
	s := &ingesttest.TCP{Out: k, Syslog: &syslog.Settings{Source: "tcp"}, TLS: &tls.Config{Certificates: []tls.Certificate{ca.Sign("c")}}}
	nc := tls.Client(ingesttest.Dial(t, ingesttest.Start(t, s)), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1"})
	want := "first\n"
	io.WriteString(nc, want)
	<-appending
	for range 300 {
		more := strings.Repeat("x", 99) + "\n"
		want += more
		io.WriteString(nc, more) // a record
	}
	time.Sleep(50 * time.Millisecond)
	go func() {
		<-s.Stopped()
		close(goOn)
	}() // ends with the stop
	s.Shutdown(t.Context())
	if text := k.Text(); text != want {
		t.Errorf("%d of %d bytes are written, %d are counted as unread", len(text), len(want),
			ingesttest.Metric(t, s.Metrics, "fanin_unread_bytes_total", ""))
	}
}
