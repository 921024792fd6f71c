package collector

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"fanin/internal/config"
	"fanin/internal/config/tables"
	"fanin/internal/natsconn"
	natsout "fanin/sink/distribute/nats"
)

// natsTable is [[collector.nats]]: a NATS server that lines come from, and go to.
type natsTable struct {
	URL      string            `toml:"url"`
	TLS      *tables.ClientTLS `toml:"tls"`
	Insecure bool              `toml:"insecure"`
	tables.NATSLogin

	Agents      *string      `toml:"agents"`
	Subjects    []string     `toml:"subjects"`
	Queue       string       `toml:"queue"`
	Host        string       `toml:"host"`
	TrustHost   bool         `toml:"trust_host"`
	MaxLine     *config.Size `toml:"max_line"`
	Pending     *config.Size `toml:"pending"`
	KeepRefused *config.Size `toml:"keep_refused"`
	natsStream
	relaysTable

	Tail string         `toml:"tail"`
	Work *natsWorkTable `toml:"work"`
}

// natsStream is the JetStream stream that lines come from.
type natsStream struct {
	Stream   string `toml:"stream"`
	Durable  string `toml:"durable"`
	Create   bool   `toml:"create"`
	Replicas *int   `toml:"replicas"`
}

// natsWorkTable is a group whose lines go into a JetStream work queue.
type natsWorkTable struct {
	Group    string `toml:"group"`
	From     string `toml:"from"`
	Stream   string `toml:"stream"`
	Subject  string `toml:"subject"`
	Create   bool   `toml:"create"`
	Replicas *int   `toml:"replicas"`
}

// subject is what the subjects of the work queue begin with.
func (w *natsWorkTable) subject() string { return cmp.Or(w.Subject, natsout.DefaultSubject) }

func (t *natsTable) login() natsconn.Login { return t.Login(t.URL) }

// tlsLogin is login with the TLS of the table.
func (t *natsTable) tlsLogin(log *slog.Logger) (natsconn.Login, error) {
	l := t.login()
	if t.TLS != nil {
		var err error
		if l.TLS, err = t.TLS.Files(log).Client(); err != nil {
			return l, fmt.Errorf("tls of %s: %w", t.URL, err)
		}
	}
	return l, nil
}

// tryFiles reads the certificates and secrets.
func (t *natsTable) tryFiles() error {
	login, err := t.tlsLogin(nil)
	if err == nil {
		err = login.Check()
	}
	if err == nil && t.TLS != nil {
		err = t.TLS.Files(nil).CheckClient(time.Now())
	}
	return err
}

func (t *natsTable) needs() needs {
	return needs{memory: []memoryNeed{{"pending", t.Pending}}, files: t.tryFiles, handsOut: t.Work != nil,
		alone: true}
}

var (
	goodPrefix  = regexp.MustCompile(`^[A-Za-z0-9_/-]+(\.[A-Za-z0-9_/-]+)*$`)
	goodSubject = regexp.MustCompile(`^([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?$|^>$`)
	goodName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// agents is the prefix of the subjects where agents are met.
func (t *natsTable) agents() string {
	if t.Agents == nil {
		return "fanin"
	}
	return *t.Agents
}

func (t *natsTable) check(c *checks) {
	if t.URL == "" {
		c.Problem("url", "url is missing: the NATS server, as in url = \"nats://127.0.0.1:4222\"")
		return
	}
	t.checkServer(c)
	t.checkSubjectNames(c)
	t.natsStream.check(c)
	t.relaysTable.check(c)
	if t.Stream != "" && t.Queue != "" {
		c.Problem("queue", "queue has no effect with a stream: each collector reads the stream with its own durable")
	}
	t.Work.check(c)
	c.SizeBetween("keep_refused", t.KeepRefused, 1<<20, 1<<40)
	c.SizeBetween("pending", t.Pending, 1<<20, 1<<30)
	c.maxLine(t.MaxLine)
	t.checkOverlaps(c)
}

// checkServer checks how the server is reached.
func (t *natsTable) checkServer(c *checks) {
	l := t.login()
	if err := l.CheckSecrets(); err != nil {
		c.Problem("", "%v", err)
	}
	if err := l.CheckURLs(); err != nil {
		c.Problem("url", "%v", err)
	} else if !l.Encrypted() && t.TLS == nil && !t.Insecure && !c.insecure {
		c.Problem("url", "url is %q, which is another machine, and the connection is not encrypted: "+
			"give it tls = {ca = \"...\"}, or set insecure = true (or --insecure) if you trust the network", t.URL)
	}
	t.TLS.Check(c.Table)
}

// checkSubjectNames checks the subjects, each on its own.
func (t *natsTable) checkSubjectNames(c *checks) {
	prefix := t.agents()
	if prefix != "" && !goodPrefix.MatchString(prefix) {
		c.Problem("agents", "agents is %q; want letters, digits, '_', '/' and '-', in parts separated by '.', "+
			"without wildcards; or \"\" for none", prefix)
	}
	for _, subject := range t.Subjects {
		if !goodSubject.MatchString(subject) {
			c.Problem("subjects",
				"invalid subject %q; want parts separated by '.', '*' for any one part and '>' for all that follow",
				subject)
		}
	}
	if len(t.Subjects) == 0 && prefix == "" && t.Tail == "" && t.Work == nil {
		c.Problem("", "the table has no effect: give it subjects = [\"logs.>\"], or agents")
	}
	if t.Tail != "" && !goodPrefix.MatchString(t.Tail) {
		c.Problem("tail",
			"tail is %q; want letters, digits, '_', '/' and '-', in parts separated by '.', as in \"fanin.tail\"",
			t.Tail)
	}
}

func (t *natsStream) check(c *checks) {
	for key, name := range map[string]string{"stream": t.Stream, "durable": t.Durable} {
		if name != "" && !goodName.MatchString(name) {
			c.Problem(key, "%s is %q; want letters, digits, '_' and '-'", key, name)
		}
	}
	if t.Stream == "" {
		for key, set := range map[string]bool{"durable": t.Durable != "", "create": t.Create,
			"replicas": t.Replicas != nil} {
			if set {
				c.Problem(key, "%s needs a stream, as in stream = \"LOGS\"", key)
			}
		}
	}
	c.Between("replicas", t.Replicas, 1, 5)
}

func (w *natsWorkTable) check(c *checks) {
	if w == nil {
		return
	}
	at := c.Sub("work")
	if !goodName.MatchString(w.Stream) {
		at.Problem("stream", "stream is %q; want the name of a JetStream stream: letters, digits, '_' and '-'",
			w.Stream)
	}
	if w.Subject != "" && !goodPrefix.MatchString(w.Subject) {
		at.Problem("subject", "subject is %q; want letters, digits, '_', '/' and '-', in parts separated by '.'",
			w.Subject)
	}
	at.Between("replicas", w.Replicas, 1, 5)
}
