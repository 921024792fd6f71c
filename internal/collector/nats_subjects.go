package collector

import (
	"slices"
	"strings"

	"fanin/internal/natsconn"
)

// role is what the collector does with subjects: it receives from them or publishes to
// them.
type role int

const (
	plainRole role = iota
	agentsRole
	tailRole
	workRole
)

// subjectUse is one of these.
type subjectUse struct {
	at       string // its key in the configuration
	role     role
	subjects []string
	reserved []string // more of them, which plain messages must not use either
}

// uses are the subjects that a table takes or publishes to.
func (t *natsTable) uses(at string) (all []subjectUse) {
	add := func(key string, role role, reserved []string, subjects ...string) {
		all = append(all, subjectUse{at + "." + key, role, subjects, reserved})
	}
	for _, subject := range t.Subjects {
		add("subjects", plainRole, nil, subject)
	}
	if p := natsconn.Subjects(t.agents()); p != "" {
		add("agents", agentsRole, []string{string(p), string(p) + ".>"},
			p.AllHellos(), string(p)+".log.*.*", p.AllBatches(), p.Answers()+">", p.Who(), string(p)+".svc.>")
	}
	if t.Tail != "" {
		add("tail", tailRole, nil, t.Tail+".>")
	}
	if t.Work != nil {
		add("work", workRole, nil, t.Work.subject()+".>")
	}
	return all
}

// checkOverlaps refuses subjects of one server that would make the collector receive its
// own lines, or anything twice: within the table, and with the tables before it.
func (t *natsTable) checkOverlaps(c *checks) {
	var all []subjectUse
	for _, o := range c.others {
		if other, ok := o.table.(*natsTable); ok && other.sameServer(t) {
			all = append(all, other.uses(o.at)...)
		}
	}
	before := len(all)
	all = append(all, t.uses(c.Path)...)
	for i := before; i < len(all); i++ {
		for _, a := range all[:i] {
			b := all[i]
			if a.role == plainRole && b.role != plainRole {
				a, b = b, a // report it where plain messages are named
			}
			if one, other, ok := a.meets(&b); ok {
				c.At(b.at, "%q overlaps %q of %s: %s", other, one, a.at, consequence(a.role, b.role))
			}
		}
	}
}

// meets returns the first subjects of both that overlap.
func (u *subjectUse) meets(v *subjectUse) (one, other string, ok bool) {
	mine := u.subjects
	if v.role == plainRole && u.reserved != nil {
		mine = u.reserved
	}
	for _, one := range mine {
		for _, other := range v.subjects {
			if natsconn.Overlap(one, other) {
				return one, other, true
			}
		}
	}
	return "", "", false
}

// consequence is what an overlap would lead to.
func consequence(a, b role) string {
	out := func(r role) bool { return r == tailRole || r == workRole }
	switch {
	case out(a) != out(b):
		return "the collector would receive the lines again that it publishes there, without end; use other subjects"
	case out(a):
		return "each line would be published there twice; use other subjects"
	case a != b:
		return "messages between agents and collector would be taken for lines; use other subjects"
	}
	return "each message would be received twice; use one of them"
}

// sameServer reports whether two tables lead to one server as one user: then they share
// its subjects.
func (t *natsTable) sameServer(u *natsTable) bool {
	x, y := t.login(), u.login()
	if x.User != y.User || x.TokenFile != y.TokenFile || x.NKeyFile != y.NKeyFile || x.CredsFile != y.CredsFile {
		return false
	}
	return slices.ContainsFunc(addresses(t.URL), func(a string) bool { return slices.Contains(addresses(u.URL), a) })
}

func addresses(url string) (all []string) {
	for a := range strings.SplitSeq(url, ",") {
		_, host, _ := strings.Cut(strings.TrimSpace(a), "://")
		host = strings.TrimSuffix(host, "/")
		if !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":") {
			host += ":4222"
		}
		all = append(all, strings.Replace(host, "localhost:", "127.0.0.1:", 1))
	}
	return all
}
