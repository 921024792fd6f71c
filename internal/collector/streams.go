package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/wire"
	"fanin/sink"
)

var goodAgent = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// errFilter is matched by errors about a selection of streams.
var errFilter = errors.New("which streams")

// streamFilter reads a selection of streams: id, which may be repeated, agent, and older.
func streamFilter(q url.Values) (f sink.StreamFilter, err error) {
	for _, s := range q["id"] {
		id, err := wire.ParseStreamID(s)
		if err != nil {
			return f, fmt.Errorf("%w: %w", errFilter, err)
		}
		f.IDs = append(f.IDs, id)
	}
	f.Agent = q.Get("agent")
	if s := q.Get("older"); s != "" {
		var age config.Duration
		if err := age.UnmarshalText([]byte(s)); err != nil {
			return f, fmt.Errorf("%w: older: %w", errFilter, err)
		}
		f.Before = time.Now().Add(-time.Duration(age))
	}
	return f, nil
}

// listStreams writes the streams as a JSON array, one by one: there may be
// hundreds of thousands.
func (c *server) listStreams(w http.ResponseWriter, r *http.Request) {
	f, err := streamFilter(r.URL.Query())
	if err != nil {
		reply(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out, before := json.NewEncoder(w), "["
	for st := range c.sink.Streams(f) {
		io.WriteString(w, before)
		if out.Encode(st) != nil {
			return // the client is gone
		}
		before = ","
	}
	if before == "[" {
		io.WriteString(w, "[")
	}
	io.WriteString(w, "]\n")
}

// changedStreams is what `streams --forget` and `--give` print as JSON.
type changedStreams struct {
	Streams int `json:"streams"`
}

func (c *server) forgetStreams(ctx context.Context, q url.Values) (any, error) {
	f, err := streamFilter(q)
	if err == nil && f.IsZero() {
		err = fmt.Errorf("%w: give id, agent or older", errFilter)
	}
	if err != nil {
		return nil, err
	}
	n, err := c.sink.Forget(ctx, f, c.sessions.Has)
	return changedStreams{n}, err
}

func (c *server) giveStreams(ctx context.Context, q url.Values) (any, error) {
	from, to := q.Get("from"), q.Get("to")
	if from == "" || !goodAgent.MatchString(to) || from == to {
		return nil, fmt.Errorf("%w: give from, an agent's id, and to, another's", errFilter)
	}
	n, err := c.sink.Reassign(ctx, from, to, c.sessions.Has)
	return changedStreams{n}, err
}

// streamsCommand lists streams, forgets them, or assigns them to another agent.
func (o *options) streamsCommand() *cobra.Command {
	var q = url.Values{}
	var agent, older string
	var forget, give bool
	c := &cobra.Command{
		Use:   "streams [ID...]",
		Short: "list the streams of the log: agent, host, source, offset; forget some, or assign them to another agent",
		Long: `streams lists what the log knows of each file that agents follow, and of each sender of
datagrams: all of them, or those selected by ids, --agent and --older.

  streams --forget --agent web-1     forget the selected streams, to make room
  streams --give OLD NEW             the agent has a new id, and its state was lost

After --forget, an agent continues at its own saved positions. It sends a file
without one from the start. Stop the agent first if it is connected.`,
		RunE: func(c *cobra.Command, args []string) error {
			for key, value := range map[string]string{"agent": agent, "older": older} {
				if value != "" {
					q.Set(key, value)
				}
			}
			switch {
			case give && (forget || len(q) > 0 || len(args) != 2):
				return daemon.Exitf(daemon.ExitUsage, "--give needs two agents and nothing else: %s --give OLD NEW",
					c.CommandPath())
			case give:
				return o.changeStreams(c, "assigned", "/streams/give?"+url.Values{"from": args[:1],
					"to": args[1:]}.Encode())
			}
			if len(args) > 0 {
				q["id"] = args
			}
			switch {
			case forget && len(q) == 0:
				return daemon.Exitf(daemon.ExitUsage, "no streams to forget: give ids, --agent AGENT or --older 30d")
			case forget:
				return o.changeStreams(c, "forgot", "/streams/forget?"+q.Encode())
			}
			return o.printStreams(c, "/streams?"+q.Encode())
		},
	}
	c.Flags().StringVar(&agent, "agent", "", "select the streams of this `agent`")
	c.Flags().StringVar(&older, "older", "", "select streams without lines for this `duration`, such as 30d")
	c.Flags().BoolVar(&forget, "forget", false, "forget the selected streams")
	c.Flags().BoolVar(&give, "give", false, "assign all streams of the agent OLD to the agent NEW")
	return o.jsonFlag(c)
}

func (o *options) changeStreams(c *cobra.Command, did, path string) error {
	var r changedStreams
	if err := o.ask(c.Context(), "POST", path, &r); err != nil {
		return err
	}
	if o.json {
		return escape.PrintJSON(c.OutOrStdout(), r)
	}
	escape.Fprintf(c.OutOrStdout(), "%s %d streams\n", did, r.Streams)
	return nil
}

// printStreams prints the list as it arrives.
func (o *options) printStreams(c *cobra.Command, path string) error {
	to, err := o.target()
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	return running(to.askFor(c.Context(), "GET", path, func(answer io.Reader) error {
		if o.json {
			return escape.CopyJSON(out, answer)
		}
		in := json.NewDecoder(answer)
		if _, err := in.Token(); err != nil {
			return fmt.Errorf("read the list of streams: %w", err)
		}
		for in.More() {
			var s sink.StreamStatus
			if err := in.Decode(&s); err != nil {
				return fmt.Errorf("read the list of streams: %w", err)
			}
			escape.Fprintf(out, "stream %s kind=%s agent=%s host=%s source=%s epoch=%d offset=%d seen=%s\n",
				s.Stream, s.Kind, s.Agent, s.Host, s.Source, s.Epoch, s.Offset, s.Seen.Format(time.RFC3339))
		}
		return nil
	}))
}
