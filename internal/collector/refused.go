package collector

import (
	"context"
	"errors"
	"fmt"

	natsin "fanin/ingest/nats"

	"github.com/spf13/cobra"

	"fanin/internal/escape"
)

// refusedMessage is one of `refused --json`.
type refusedMessage struct {
	File string `json:"file"`
	natsin.Refused
}

// refusedMessages lists the messages that the log refused and that are kept.
func (c *server) refusedMessages(context.Context) ([]refusedMessage, error) {
	list := []refusedMessage{}
	for _, x := range c.listeners.all() {
		if x.refused == nil {
			continue
		}
		all, err := x.refused.Refused()
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			list = append(list, refusedMessage{r.File, r})
		}
	}
	return list, nil
}

// published is what `refused --replay --json` prints.
type published struct {
	Messages int `json:"messages"`
}

// replayRefused publishes them again.
func (c *server) replayRefused(ctx context.Context) (p published, err error) {
	for _, x := range c.listeners.all() {
		if x.refused == nil {
			continue
		}
		n, rerr := x.refused.Replay(ctx)
		p.Messages += n
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return p, fmt.Errorf("%d messages were published again, then: %w", p.Messages, err)
	}
	return p, nil
}

func (o *options) refusedCommand() *cobra.Command {
	replay := false
	c := o.jsonFlag(o.command("refused", "list the batches from JetStream streams that the log refused and the "+
		"collector kept", func(ctx context.Context, c *cobra.Command) error {
		if replay {
			var p published
			if err := o.ask(ctx, "POST", "/refused/replay", &p); err != nil {
				return err
			}
			if o.json {
				return escape.PrintJSON(c.OutOrStdout(), p)
			}
			escape.Fprintf(c.OutOrStdout(), "%d messages were published again\n", p.Messages)
			return nil
		}
		var list []refusedMessage
		if err := o.ask(ctx, "GET", "/refused", &list); err != nil {
			return err
		}
		if o.json {
			return escape.PrintJSON(c.OutOrStdout(), list)
		}
		for _, r := range list {
			escape.Fprintf(c.OutOrStdout(), "agent=%s stream=%s offsets=%s reason=%q file=%q\n", r.Agent, r.Stream,
				r.Offsets, r.Reason, r.File)
		}
		return nil
	}))
	c.Flags().BoolVar(&replay, "replay", false,
		"publish them to their streams again, and remove those that a stream has stored")
	return c
}
