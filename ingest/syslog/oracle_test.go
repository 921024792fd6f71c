package syslog

import (
	"maps"
	"strings"
	"testing"
	"time"

	oracle "github.com/leodido/go-syslog/v4"
	their3164 "github.com/leodido/go-syslog/v4/rfc3164"
	their5424 "github.com/leodido/go-syslog/v4/rfc5424"
)

// verdicts are the fields of a message as a parser reads it.
type verdicts struct {
	Pri                         int
	Host, App, PID, MsgID, Text string
	Data                        map[string]map[string]string
	Time                        time.Time
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// theirs is what go-syslog reads; nil: it does not understand the message.
func theirs(form form, msg []byte) *verdicts {
	var b *oracle.Base
	v := &verdicts{}
	if form == rfc5424 {
		m, err := their5424.NewMachine().Parse(msg)
		if err != nil {
			return nil
		}
		x := m.(*their5424.SyslogMessage)
		if b = &x.Base; x.StructuredData != nil {
			v.Data = *x.StructuredData
		}
	} else {
		m, err := their3164.NewMachine(their3164.WithYear(their3164.Year{YYYY: 2026}), their3164.WithRFC3339(), their3164.WithLenientDay(),
			their3164.WithSecondFractions(), their3164.WithEmbeddedNewlines()).Parse(msg)
		if err != nil || m == nil { // of Cisco's, it returns neither
			return nil
		}
		b = &m.(*their3164.SyslogMessage).Base
	}
	if b.Priority != nil {
		v.Pri = int(*b.Priority)
	}
	v.Host, v.App, v.PID, v.MsgID, v.Text = text(b.Hostname), text(b.Appname), text(b.ProcID), text(b.MsgID), text(b.Message)
	if b.Timestamp != nil {
		v.Time = b.Timestamp.UTC()
	}
	return v
}

// ours is what the scanner reads, as the oracle shows it.
func ours(msg []byte) *verdicts {
	var m message
	m.parse(msg, false, false, new(stem))
	v := &verdicts{Pri: m.pri, Host: string(m.host), App: string(m.app), PID: string(m.pid), MsgID: string(m.msgid), Text: string(m.text)}
	if t, why := m.time.resolve(time.UTC, readAt); why == taken && m.time.known {
		v.Time = t.Add(time.Duration(m.time.micros) * time.Microsecond)
	}
	value := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\]`, `]`)
	for _, e := range elements.FindAllStringSubmatch(string(m.data), -1) {
		if v.Data == nil {
			v.Data = make(map[string]map[string]string)
		}
		v.Data[e[1]] = make(map[string]string)
		for _, p := range params.FindAllStringSubmatch(e[0][1+len(e[1]):], -1) {
			v.Data[e[1]][p[1]] = value.Replace(p[2])
		}
	}
	return v
}

// different is the first field in which the two differ, besides the mark of UTF-8; "": none.
func different(a, b *verdicts) string {
	cut := func(s string) string { return strings.TrimPrefix(s, "\xef\xbb\xbf") }
	switch {
	case a.Pri != b.Pri:
		return "priority"
	case a.Host != b.Host:
		return "host"
	case a.App != b.App:
		return "app"
	case a.PID != b.PID:
		return "pid"
	case a.MsgID != b.MsgID:
		return "msgid"
	case !maps.EqualFunc(a.Data, b.Data, maps.Equal):
		return "data"
	case cut(a.Text) != cut(b.Text):
		return "text"
	case a.Time.Truncate(time.Microsecond) != b.Time:
		return "time"
	}
	return ""
}

// otherViews are the messages of which go-syslog has another view, and the field in which.
var otherViews = map[string]string{
	"BSD syslogd, repeated messages without a host": "host", // "last" is none
	"a tag in UTF-8":                         "app",  // it knows ASCII
	"HPE ArubaOS":                            "host", // 2026 is none
	"Snare, a tab behind the host":           "host",
	"AIX, forwarded":                         "host", // "Message" is none
	"AIX of old, forwarded":                  "host", // "From" is none
	"IPv6 as the host":                       "host", // nor is 2001 an app
	"a load balancer without a tag, in JSON": "app",  // {"status" is none
	"a URL is no tag":                        "app",  // nor is https
	"a host without a tag, and a text with blanks before it": "text", // it drops them
	"no text": "text", // it has 4]: as the text
}

// TestOracle: where go-syslog understands a message of the table, it reads the same fields.
func TestOracle(t *testing.T) {
	all, _ := examples(t)
	agreed := 0
	for _, x := range all {
		if x.settings.Local || x.settings.Any {
			continue
		}
		var m message
		m.parse(x.message, false, false, new(stem))
		a, b := theirs(m.form, trimEnd(x.message)), ours(trimEnd(x.message))
		if a == nil || m.form == plain {
			continue
		}
		if d := different(a, b); d != otherViews[x.title] {
			t.Errorf("%s: %s:\nwe read %+v\n   they %+v", x.title, d, b, a)
		} else if d == "" {
			agreed++
		}
	}
	if t.Logf("%d messages agree", agreed); agreed < 30 {
		t.Errorf("only %d messages are understood by both", agreed)
	}
}
