package natsconn

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Service lets a program answer requests over NATS, as a micro service with the name
// "fanin" (NATS ADR-32): `nats micro ls` lists every collector and agent. Each endpoint
// is at PREFIX.svc.ROLE.ID.ENDPOINT; PING, INFO and STATS are where the library puts
// them, below $SRV.
type Service struct {
	Prefix   string
	Role, ID string // "collector" or "agent", and its identity
	Version  string // semantic
	Metadata map[string]string
	Stats    func() any // in addition to the library's counts; may be nil

	// Endpoints answer with their value as JSON.
	Endpoints map[string]func(ctx context.Context) (any, error)
}

// Subject is where an endpoint is asked.
func (s *Service) Subject(endpoint string) string {
	return fmt.Sprintf("%s.svc.%s.%s.%s", s.Prefix, s.Role, strings.ReplaceAll(s.ID, ".", "/"), endpoint)
}

// Listens reports whether a subject is one of a service's, the library's included.
func (s *Service) Listens(subject string) bool {
	return strings.HasPrefix(subject, "$SRV.") || strings.HasPrefix(subject, s.Prefix+".svc.")
}

// answerTimeout bounds every answer.
const answerTimeout = 20 * time.Second

// Serve answers until the connection is closed.
func (s *Service) Serve(nc *nats.Conn) error {
	config := micro.Config{
		Name: "fanin", Version: s.Version, Description: "fanin " + s.Role + " " + s.ID,
		Metadata: map[string]string{"role": s.Role, "id": s.ID}, QueueGroupDisabled: true,
	}
	for k, v := range s.Metadata {
		config.Metadata[k] = v
	}
	if s.Stats != nil {
		config.StatsHandler = func(*micro.Endpoint) any { return s.Stats() }
	}
	service, err := micro.AddService(nc, config)
	if err != nil {
		return fmt.Errorf("answer requests over NATS: %w", err)
	}
	for name, f := range s.Endpoints {
		handler := micro.HandlerFunc(func(r micro.Request) { respond(r, f) })
		if err := service.AddEndpoint(name, handler, micro.WithEndpointSubject(s.Subject(name))); err != nil {
			return fmt.Errorf("answer requests over NATS on %s: %w", s.Subject(name), err)
		}
	}
	return nil
}

// respond answers one request with what f returns, or with its error.
func respond(r micro.Request, f func(ctx context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	v, err := f(ctx)
	var data []byte
	if err == nil {
		data, err = json.Marshal(v)
	}
	if err != nil {
		r.Error("503", err.Error(), nil)
		return
	}
	if err := r.Respond(data); err != nil { // such as an answer beyond the server's max_payload
		r.Error("503", err.Error(), nil)
	}
}
