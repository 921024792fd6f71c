package collector

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"fanin/internal/access"
	"fanin/internal/certs"
	"fanin/internal/config/tables"
	"fanin/internal/daemon"
)

// accessTable is [[collector.access]]: it grants a role over the network.
type accessTable struct {
	Role       string   `toml:"role"`
	Names      []string `toml:"names"`
	TokensFile string   `toml:"tokens_file"`
	allowed
}

// check reports the mistakes in the table. certificates: a listener asks its peers for them.
func (t *accessTable) check(c *checks, certificates bool) {
	c.OneOf("role", t.Role, "read", "work", "admin")
	t.allowed.check(c)
	if err := certs.CheckPatterns(t.Names); err != nil {
		c.Problem("names", "names: %v", err)
	} else if t.Names != nil && !certificates {
		c.Problem("names", "names has no effect: neither [collector.http] nor [collector.work] has client_ca in tls, "+
			"so no client shows a certificate")
	}
	if t.Names == nil && t.TokensFile == "" && t.Allow == nil {
		c.Problem("", "the table grants the role %q to nothing: set names = [\"ops-*\"] (of certificates), "+
			"tokens_file = \"/etc/fanin/tokens\", or allow = [\"192.0.2.0/24\"]", t.Role)
	}
	if t.Allow != nil && t.Role == "admin" {
		c.Problem("allow", "allow grants without any proof, and admin may change everything: use names or tokens_file")
	}
}

// rule is the table as the policy has it. It was checked.
func (t *accessTable) rule() access.Rule {
	role, _ := access.ParseRole(t.Role)
	return access.Rule{Role: role, Names: t.Names, Tokens: t.TokensFile, Networks: t.peers().Allow}
}

// accessRules are the roles that the configuration grants.
func (s *settings) accessRules() (rules []access.Rule) {
	for i := range s.Collector.Access {
		rules = append(rules, s.Collector.Access[i].rule())
	}
	if rules == nil {
		return access.Local()
	}
	return rules
}

// checkAccess reports the mistakes in the tables.
func (s *settings) checkAccess() {
	c := &s.Collector
	asks := func(t *tables.ServerTLS) bool { return t != nil && t.ClientCA != "" }
	certificates := c.HTTP != nil && asks(c.HTTP.TLS) || c.Work != nil && asks(c.Work.TLS)
	for i := range c.Access {
		at := s.file.Table(fmt.Sprintf("collector.access[%d]", i))
		c.Access[i].check(&checks{Table: at, insecure: s.insecure}, certificates)
	}
}

// remote is a listener on which roles are granted.
type remote struct {
	at, listen string
	tls        *tables.ServerTLS
	names      []string // client_names
	allow      []string
	role       access.Role
}

// remotes are those of the configuration.
func (c *collectorTable) remotes() (all []remote) {
	if h := c.HTTP; h != nil {
		all = append(all, remote{"collector.http", h.Listen, h.TLS, h.ClientNames, h.Allow, access.Read})
	}
	if w := c.Work; w != nil {
		all = append(all, remote{"collector.work", w.Listen, w.TLS, w.ClientNames, w.Allow, access.Work})
	}
	return all
}

// reaches reports whether other machines may reach the listener. Of a socket of systemd's it is
// not known.
func (l *remote) reaches() bool {
	host, _, err := net.SplitHostPort(l.listen)
	ip, _ := netip.ParseAddr(host)
	return err == nil && host != "localhost" && !ip.IsLoopback()
}

// admits reports whether a rule could grant a role to a peer on another machine. With TLS a token
// could, and with client_ca a certificate.
func (l *remote) admits(r *access.Rule, role access.Role) bool {
	beyond := func(n netip.Prefix) bool { return !n.Addr().IsLoopback() }
	return r.Role.Has(role) && (slices.ContainsFunc(r.Networks, beyond) || r.Tokens != "" && l.tls != nil ||
		r.Names != nil && l.tls != nil && l.tls.ClientCA != "")
}

// example is a key that would grant the role to those who have it without any table.
func (l *remote) example() string {
	list := func(of []string, other string) string {
		if of == nil {
			return other
		}
		return `["` + strings.Join(of, `", "`) + `"]`
	}
	switch {
	case l.tls != nil && l.tls.ClientCA != "":
		return "names = " + list(l.names, `["*"]`)
	case l.tls != nil:
		return `tokens_file = "/etc/fanin/tokens" (fanin-collector token makes them)`
	}
	return "allow = " + list(l.allow, `["0.0.0.0/0", "::/0"]`)
}

// misgrant is a role that the rest of the configuration expects, and that nothing grants.
type misgrant struct{ path, text string }

// misgrants are what an operator would wonder about: listeners whose peers are all refused, and
// control without an admin. Every key is right by itself, and what an earlier release took may have come to
// this: so the collector runs with them, and warns. A tokens_file that cannot be used is a mistake, and refused.
func (s *settings) misgrants() (all []misgrant) {
	c, rules := &s.Collector, s.accessRules()
	for _, l := range c.remotes() {
		if l.reaches() && !slices.ContainsFunc(rules, func(r access.Rule) bool { return l.admits(&r, l.role) }) {
			all = append(all, misgrant{l.at + ".listen", fmt.Sprintf("listen is %q, and peers on other machines are "+
				"refused: nothing grants them the role %q; add [[collector.access]] with role = %q and %s, or listen "+
				"on 127.0.0.1 alone", l.listen, l.role, l.role, l.example())})
		}
	}
	admin := func(r access.Rule) bool { return r.Role.Has(access.Admin) }
	if c.HTTP != nil && c.HTTP.Control && !slices.ContainsFunc(rules, admin) {
		all = append(all, misgrant{"collector.http.control", "control = true has no effect: nothing grants the role " +
			"\"admin\", so only the control socket can change anything; add [[collector.access]] with " +
			"role = \"admin\" and names or tokens_file, or remove control"})
	}
	return all
}

// checkMisgrants refuses them, in `check`.
func (s *settings) checkMisgrants() error {
	for _, m := range s.misgrants() {
		s.file.Problem(m.path, "%s", m.text)
	}
	if err := s.file.Err(); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// newPolicy is who may do what, as the configuration says. The error is that of a tokens_file.
func (s *settings) newPolicy(log *slog.Logger) (*access.Policy, error) {
	s.warnMisgrants(log)
	return access.New(s.accessRules(), log)
}

func (s *settings) warnMisgrants(log *slog.Logger) {
	for _, m := range s.misgrants() {
		log.Warn("a role is granted to no peer that could use it", "key", m.path, "problem", m.text)
	}
}

// useAccess puts the roles of a new configuration into force: what is open and lost its role ends.
func (c *server) useAccess(s *settings) {
	s.warnMisgrants(c.log)
	if err := c.access.Use(s.accessRules()); err != nil { // it was tried
		c.log.Error("the new roles are not in force; reload again", "err", err)
	}
}
