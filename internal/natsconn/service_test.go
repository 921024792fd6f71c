package natsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"fanin/internal/natstest"
)

// TestService: programs can be found by name, say what they counted, and answer, each
// on its own subject; an error is the answer's, with its words.
func TestService(t *testing.T) {
	s := natstest.New(t)
	for _, id := range []string{"web.example.com", "web-2"} {
		service := &Service{Prefix: "fanin", Role: "agent", ID: id, Version: "1.2.3", Metadata: map[string]string{"host": id},
			Stats: func() any { return map[string]int{"lines": 7} },
			Endpoints: map[string]func(context.Context) (any, error){
				"status": func(context.Context) (any, error) { return map[string]string{"id": id}, nil },
				"rotate": func(context.Context) (any, error) { return nil, errors.New("the disk is full") },
			}}
		nc := s.Connect()
		if err := errors.Join(service.Serve(nc), nc.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	nc := s.Connect()
	replies, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$SRV.STATS.fanin", replies.Subject, nil); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for range 2 {
		m, err := replies.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var stats micro.Stats
		if err := json.Unmarshal(m.Data, &stats); err != nil {
			t.Fatal(err)
		}
		found[stats.Metadata["id"]] = true
		for _, e := range stats.Endpoints {
			if string(e.Data) != `{"lines":7}` {
				t.Errorf("%s counts %s", e.Subject, e.Data)
			}
		}
	}
	if fmt.Sprint(found) != "map[web-2:true web.example.com:true]" {
		t.Errorf("found %v", found)
	}
	m, err := nc.Request("fanin.svc.agent.web/example/com.status", nil, 10*time.Second)
	if err != nil || string(m.Data) != `{"id":"web.example.com"}` {
		t.Errorf("status: %q, %v", m.Data, err)
	}
	m, err = nc.Request("fanin.svc.agent.web-2.rotate", nil, 10*time.Second)
	if err != nil || m.Header.Get(micro.ErrorHeader) != "the disk is full" || m.Header.Get(micro.ErrorCodeHeader) != "503" {
		t.Errorf("rotate: %v, %v", m.Header, err)
	}
}
