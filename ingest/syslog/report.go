package syslog

import (
	"fanin/ingest"
	"fanin/internal/wire"
)

// Report is what a scanner found in a message, besides what its line shows.
type Report struct {
	Form               string // "RFC 5424", "RFC 3164", "Cisco", "PRI only" or "plain": none of syslog
	Facility, Severity string // ""; the message has no <PRI>
	Time               string // as the header has it; "": it has none
	Unused             string // why the line does not show this time, although it should; "": it does
	Number             uint32 // that the sender gave the message, if Numbered
	Numbered           bool
}

// Explain is Scan for those who want to know what the message is, too.
func (x *Scanner) Explain(dst, msg []byte, from *Origin) (out []byte, labels wire.Labels, r Report) {
	out, labels = x.scan(dst, msg, from)
	r = x.report()
	x.forget()
	return out, labels, r
}

func (x *Scanner) report() Report {
	m := &x.m
	r := Report{Form: m.form.String(), Time: string(m.time.text), Number: m.number, Numbered: m.numbered}
	if len(m.head) > 0 {
		r.Facility, r.Severity = ingest.FacilityName(m.pri/8), ingest.SeverityName(m.pri%8)
	}
	switch x.unused {
	case far:
		r.Unused = "it is more than a day off"
	case noZone:
		r.Unused = "its zone is not known: set timezone"
	case invalid:
		r.Unused = "there is no such day"
	case unsure:
		r.Unused = "the sender's clock is not synchronized"
	}
	return r
}
