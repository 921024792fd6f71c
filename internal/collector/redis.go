package collector

import (
	"cmp"
	"context"
	"strings"

	redisin "fanin/ingest/redis"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/redisconn"
)

// open connects to nothing yet: the server may be absent.
func (t *redisTable) open(_ context.Context, s *server, _ int) (*listener, error) {
	l := &listener{kind: "redis", address: strings.Join(t.URL, ","), close: func() {}}
	if len(t.Channels)+len(t.Streams)+len(t.Lists) > 0 {
		client, err := t.client(s, "in")
		if err != nil {
			return nil, err
		}
		in := t.input(s, client)
		in.Streams.Consumer = cmp.Or(t.Consumer, "fanin-"+s.sink.Status().Log) // no two collectors may share one
		l.serve, l.shutdown, l.trouble = in.Serve, in.Shutdown, in.Trouble
	}
	if t.Output == nil {
		return l, nil
	}
	return l, t.openOutput(s, l)
}

// client makes a client of the server; purpose is "in" or "out", and is in its name.
func (t *redisTable) client(s *server, purpose string) (*redisconn.Client, error) {
	login, err := t.tlsLogin(s.log)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return &redisconn.Client{Login: login, Name: "fanin-collector-" + s.id() + "-" + purpose,
		MaxBulk: int(config.OrZero(t.MaxMessage))}, nil
}

func (t *redisTable) input(s *server, client *redisconn.Client) *redisin.Input {
	return &redisin.Input{
		Client: client, Out: s.sink, Budget: s.room, Metrics: redisin.NewMetrics(s.counters), Inputs: s.inputs,
		Log: s.log, Notice: s.sink.Notice, Remembered: s.sink.Extensions,
		Lines:    redisin.LineOptions{Host: t.Host, MaxLine: int(config.OrZero(t.MaxLine))},
		Channels: redisin.ChannelOptions{Names: t.Channels, Pending: int(config.OrZero(t.Pending))},
		Streams: redisin.StreamOptions{Keys: t.Streams, Name: t.Name, Group: t.Group,
			Message: config.Or(t.Message, "message")},
		Lists: redisin.ListOptions{Keys: t.Lists},
	}
}
