package collector

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"slices"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/natsconn"
	natsout "fanin/sink/distribute/nats"
)

type natsTable struct {
	URL          string       `toml:"url"`
	TLS          *clientTLS   `toml:"tls"`
	Insecure     bool         `toml:"insecure"`
	User         string       `toml:"user"`
	PasswordFile string       `toml:"password_file"`
	TokenFile    string       `toml:"token_file"`
	NKeyFile     string       `toml:"nkey_file"`
	CredsFile    string       `toml:"creds_file"`
	Agents       *string      `toml:"agents"`
	Subjects     []string     `toml:"subjects"`
	Queue        string       `toml:"queue"`
	Stream       string       `toml:"stream"`
	Durable      string       `toml:"durable"`
	Create       bool         `toml:"create"`
	Replicas     *int         `toml:"replicas"`
	Host         string       `toml:"host"`
	TrustHost    bool         `toml:"trust_host"`
	MaxLine      *config.Size `toml:"max_line"`
	Pending      *config.Size `toml:"pending"`
	KeepRefused  *config.Size `toml:"keep_refused"`

	Tail string         `toml:"tail"`
	Work *natsWorkTable `toml:"work"`
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

type clientTLS struct {
	CA         string `toml:"ca"`
	Cert       string `toml:"cert"`
	Key        string `toml:"key"`
	ServerName string `toml:"server_name"`
}

func (t *natsTable) login() natsconn.Login {
	return natsconn.Login{URL: t.URL, User: t.User, PasswordFile: t.PasswordFile, TokenFile: t.TokenFile, NKeyFile: t.NKeyFile, CredsFile: t.CredsFile}
}

// files are those of the tls table, which may be missing.
func (t *natsTable) files(log *slog.Logger) certs.Files {
	if t.TLS == nil {
		return certs.Files{}
	}
	return t.TLS.files(log)
}

// tlsLogin is login with the TLS of the table.
func (t *natsTable) tlsLogin(log *slog.Logger) (natsconn.Login, error) {
	l := t.login()
	if t.TLS != nil {
		var err error
		if l.TLS, err = t.TLS.files(log).Client(); err != nil {
			return l, fmt.Errorf("tls of %s: %w", t.URL, err)
		}
	}
	return l, nil
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

func (s *settings) checkNATS(at string, t *natsTable) {
	if t.URL == "" {
		s.file.Problem(at+".url", "url is missing: the NATS server, as in url = \"nats://127.0.0.1:4222\"")
		return
	}
	l := t.login()
	if err := l.CheckSecrets(); err != nil {
		s.file.Problem(at, "%v", err)
	}
	if err := l.CheckURLs(); err != nil {
		s.file.Problem(at+".url", "%v", err)
	} else if !l.Encrypted() && t.TLS == nil && !t.Insecure {
		s.file.Problem(at+".url", "url is %q, beyond this machine, and unencrypted: give it tls = {ca = \"...\"}, or say insecure = true (or --insecure) if the network is yours alone", t.URL)
	}
	if t.TLS != nil && (t.TLS.Cert == "") != (t.TLS.Key == "") {
		s.file.Problem(at+".tls", "tls has one of cert and key; it needs both, or neither")
	}
	prefix := t.agents()
	if prefix != "" && !goodPrefix.MatchString(prefix) {
		s.file.Problem(at+".agents", "agents is %q; want letters, digits, '_', '/' and '-', in parts by '.', without wildcards; or \"\" for none", prefix)
	}
	for _, subject := range t.Subjects {
		if !goodSubject.MatchString(subject) {
			s.file.Problem(at+".subjects", "%q is no subject; want parts by '.', '*' for any one and '>' for all that follow", subject)
		}
	}
	if len(t.Subjects) == 0 && prefix == "" && t.Tail == "" && t.Work == nil {
		s.file.Problem(at, "nothing to do: give it subjects = [\"logs.>\"], or agents")
	}
	if t.Tail != "" && !goodPrefix.MatchString(t.Tail) {
		s.file.Problem(at+".tail", "tail is %q; want letters, digits, '_', '/' and '-', in parts by '.', as in \"fanin.tail\"", t.Tail)
	}
	s.checkNATSWork(at+".work", t.Work)
	for key, name := range map[string]string{"stream": t.Stream, "durable": t.Durable} {
		if name != "" && !goodName.MatchString(name) {
			s.file.Problem(at+"."+key, "%s is %q; want letters, digits, '_' and '-'", key, name)
		}
	}
	if t.Stream != "" && t.Queue != "" {
		s.file.Problem(at+".queue", "queue is for messages without a stream: of a stream, each collector takes what comes to its own durable")
	}
	if t.Stream == "" {
		for key, set := range map[string]bool{"durable": t.Durable != "", "create": t.Create, "replicas": t.Replicas != nil} {
			if set {
				s.file.Problem(at+"."+key, "%s needs a stream, as in stream = \"LOGS\"", key)
			}
		}
	}
	if t.Replicas != nil && (*t.Replicas < 1 || *t.Replicas > 5) {
		s.file.Problem(at+".replicas", "replicas is %d; from 1 to 5", *t.Replicas)
	}
	if t.KeepRefused != nil && (*t.KeepRefused < 1<<20 || *t.KeepRefused > 1<<40) {
		s.file.Problem(at+".keep_refused", "keep_refused is %s; from 1MiB to 1TiB", *t.KeepRefused)
	}
	if t.Pending != nil && (*t.Pending < 1<<20 || *t.Pending > 1<<30) {
		s.file.Problem(at+".pending", "pending is %s; from 1MiB to 1GiB", *t.Pending)
	}
	s.checkMaxLine(at, t.MaxLine)
}

// carries reports whether lines go into a work queue of some server.
func (s *settings) carries() bool {
	return slices.ContainsFunc(s.Collector.NATS, func(t natsTable) bool { return t.Work != nil })
}

func (s *settings) checkNATSWork(at string, w *natsWorkTable) {
	if w == nil {
		return
	}
	if !goodName.MatchString(w.Stream) {
		s.file.Problem(at+".stream", "stream is %q; want the name of a JetStream stream: letters, digits, '_' and '-'", w.Stream)
	}
	if w.Subject != "" && !goodPrefix.MatchString(w.Subject) {
		s.file.Problem(at+".subject", "subject is %q; want letters, digits, '_', '/' and '-', in parts by '.'", w.Subject)
	}
	if w.Replicas != nil && (*w.Replicas < 1 || *w.Replicas > 5) {
		s.file.Problem(at+".replicas", "replicas is %d; from 1 to 5", *w.Replicas)
	}
}
