package collector

import (
	"encoding/json"
	"io"
	"time"

	"fanin/ingest/syslog"
	"fanin/internal/escape"
	"fanin/internal/wire"
)

// understood is a message as the log would have it.
type understood struct {
	Message    int               `json:"message"`
	Form       string            `json:"form"`
	Facility   string            `json:"facility,omitempty"`
	Severity   string            `json:"severity,omitempty"`
	Time       string            `json:"time"`
	TimeOf     string            `json:"time_of"` // "read" or "sender"
	SenderTime string            `json:"sender_time,omitempty"`
	Unused     string            `json:"sender_time_unused,omitempty"`
	Host       string            `json:"host"`
	Source     string            `json:"source"`
	Keys       map[string]string `json:"keys,omitempty"`
	Number     *uint32           `json:"number,omitempty"`
	Text       string            `json:"text"`

	attributes wire.Attributes // Keys, in their order
}

// formNone is the form of what is not a message.
const formNone = "plain"

// understand is what becomes of message n, which was read now.
func understand(n int, x *syslog.Scanner, msg []byte, from *syslog.Origin) *understood {
	line, labels, r := x.Explain(nil, msg, from)
	m := &understood{Message: n, Form: r.Form, Facility: r.Facility, Severity: r.Severity, SenderTime: r.Time,
		Unused: r.Unused}
	m.setLine(line, &labels, from.Now)
	if r.Numbered {
		m.Number = &r.Number
	}
	return m
}

// setLine sets what the line of the message shows, which was read now.
func (m *understood) setLine(line []byte, labels *wire.Labels, now time.Time) {
	m.Host, m.Source, m.attributes = labels.Host, labels.Source, labels.Attributes
	m.Text = string(wire.AppendRecordText(nil, line))
	m.Time, m.TimeOf = shownTime(now), timeRead
	if !labels.Time.IsZero() {
		m.Time, m.TimeOf = shownTime(labels.Time), timeSender
	}
	for name, value := range labels.Attributes.All() {
		if m.Keys == nil {
			m.Keys = make(map[string]string)
		}
		m.Keys[name] = value
	}
}

// shownTime is a time as lines have it.
func shownTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// print prints the message:
//
//	1   RFC 3164, auth.crit
//	    time    2026-11-26T12:00:00.000000Z  (when it is read; the message has Nov 26 12:00:01)
//	    host    192.0.2.1  (the peer)
//	    source  su[812]
//	    text    'su root' failed
func (m *understood) print(w io.Writer, peer string) {
	title := m.Form
	switch {
	case m.Form == formNone:
		title = "not a message of syslog: a line as it is"
	case m.Severity != "":
		title += ", " + m.Facility + "." + m.Severity
	}
	escape.Fprintf(w, "%-3d %s\n", m.Message, title)
	printField(w, "time", m.Time, m.timeRemark())
	if m.Host == peer {
		printField(w, "host", m.Host, "the peer")
	} else {
		printField(w, "host", m.Host, "of the message")
	}
	printField(w, "source", m.Source, "")
	for name, value := range m.attributes.All() {
		printField(w, "key", name+"="+value, "")
	}
	if m.Number != nil {
		printField(w, "number", escape.Sprintf("%d", int(*m.Number)), "for counting gaps")
	}
	printField(w, "text", m.Text, "")
}

func printField(w io.Writer, name, value, remark string) {
	if remark != "" {
		remark = "  (" + remark + ")"
	}
	escape.Fprintf(w, "    %-7s %s%s\n", name, value, remark)
}

// timeRemark says whose time it is, and why.
func (m *understood) timeRemark() string {
	switch {
	case m.TimeOf == timeSender && m.SenderTime == "":
		return "of the message"
	case m.TimeOf == timeSender:
		return "of the message: " + m.SenderTime
	case m.SenderTime == "":
		return "when it is read"
	case m.Unused != "":
		return "when it is read; " + m.SenderTime + " of the message is not taken: " + m.Unused
	}
	return "when it is read; the message has " + m.SenderTime
}

// printJSON prints the message as one line of JSON.
func (m *understood) printJSON(w io.Writer) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escape.Document(b), '\n'))
	return err
}
