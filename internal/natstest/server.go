// Package natstest runs NATS servers in the process of a test.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"fanin/internal/freeport"
)

// Server is a server that can be stopped and started again, at the same address
// and with what its store holds.
type Server struct {
	t       testing.TB
	options server.Options
	*server.Server
}

// New starts a server with JetStream on a free port of the loopback interface. It
// ends with the test.
func New(t testing.TB, change ...func(*server.Options)) *Server {
	t.Helper()
	port, err := freeport.One()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, options: server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true, JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 1 << 30}}
	for _, f := range change {
		f(&s.options)
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server, for the first time or again.
func (s *Server) Start() {
	s.t.Helper()
	o := s.options
	srv, err := server.NewServer(&o)
	if err != nil {
		s.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		s.t.Fatal("the NATS server did not start")
	}
	s.Server = srv
}

// Change changes the options of the next Start.
func (s *Server) Change(f func(*server.Options)) { f(&s.options) }

// Stop stops the server.
func (s *Server) Stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// Store is where the server keeps its streams.
func (s *Server) Store() string { return s.options.StoreDir }

// Connect is a client of the server, which comes back when the server does.
func (s *Server) Connect(options ...nats.Option) *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(s.ClientURL(), append([]nats.Option{nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1)}, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// JetStream is JetStream over a connection.
func (s *Server) JetStream(nc *nats.Conn) jetstream.JetStream {
	s.t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// VerifyMain runs a package's tests, and fails if goroutines are left. The server itself
// (nats-server 2.15) leaves behind those of a store that was made while it stopped.
func VerifyMain(m *testing.M) {
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"), goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}
