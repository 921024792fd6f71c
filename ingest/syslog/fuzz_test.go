package syslog

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/internal/wire"
)

// tableRows are the rows of the table in docs/clients.md, which the tests of this file check.
var tableRows = []string{"`<PRI>`", "version (the `1` of RFC 5424)", "time", "host", "program (the tag; APP-NAME)",
	"process (PROCID)", "message id (MSGID)", "structured data", "`timeQuality`, `origin` and `meta` in it",
	"Cisco's counters, and `*` or `.` before its time", "the mark of UTF-8 (BOM) before the text", "text", "NULs and a newline at the end"}

// TestDocumentedFields: the table in docs/clients.md has the rows that the fuzz tests check.
func TestDocumentedFields(t *testing.T) {
	b, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "<!-- fields -->")
	table, _, _ = strings.Cut(table, "<!-- /fields -->")
	var rows []string
	for _, l := range strings.Split(table, "\n") {
		if cells := strings.Split(l, " | "); len(cells) == 3 && !strings.Contains(l, "---") {
			rows = append(rows, strings.TrimPrefix(cells[0], "| "))
		}
	}
	if len(rows) == 0 || !slices.Equal(rows[1:], tableRows) {
		t.Errorf("docs/clients.md has the rows %q, and the tests check %q", rows, tableRows)
	}
}

// said is what the table says of a message with these fields.
type said struct {
	m    *message
	s    *Settings
	from *Origin

	host, source string
	attributes   []byte
	text         []byte
}

func (x *said) add(text string) {
	if text != "" && len(x.text) > 0 {
		x.text = append(x.text, ' ')
	}
	x.text = append(x.text, text...)
}

func (x *said) attribute(name, value string) bool {
	a, ok := wire.AppendAttribute(x.attributes, name, []byte(value))
	x.attributes = a
	return ok
}

func (x *said) keep(name, value string) {
	if value != "" && (!x.s.JSON || !x.attribute(name, value)) {
		x.add(name + "=" + value)
	}
}

// read follows the table, row by row.
func (x *said) read() {
	m, app, pid := x.m, string(x.m.app), string(x.m.pid)
	if m.form == plain {
		x.host, x.source, x.text = x.from.Host, x.s.Source, m.text
		return
	}
	if x.s.JSON && len(m.head) > 0 {
		x.attribute("facility", ingest.FacilityName(m.pri/8))
		x.attribute("severity", ingest.SeverityName(m.pri%8))
	}
	if x.host = x.from.Host; x.s.TrustHost && m.host != nil {
		x.host = wire.CleanHost(string(m.host))
	}
	if string(m.host) != x.host {
		x.keep("host", string(m.host))
	}
	if app == "" {
		app = x.s.Source
	}
	shown := pid
	if x.from.PID > 0 {
		shown = strconv.Itoa(x.from.PID)
	}
	source := app
	if shown != "" {
		source += "[" + shown + "]"
	}
	x.source = wire.CleanSource(source)
	if x.source != source {
		x.keep("app", string(m.app))
	}
	if shown != pid || wire.CleanSource(pid) != pid && x.source != source || len(source) > wire.MaxName {
		x.keep("pid", pid)
	}
	if string(m.msgid) != string(m.app) {
		x.keep("msgid", string(m.msgid))
	}
	kept := ""
	for _, e := range elements.FindAllStringSubmatch(string(m.data), -1) {
		if e[1] != "timeQuality" && e[1] != "origin" && e[1] != "meta" {
			kept += e[0]
		}
	}
	if !x.s.JSON || kept == "" || !x.attribute("structured_data", kept) {
		x.add(kept)
	}
	x.add(string(m.text))
	if x.s.KeepPRI {
		x.text = append(bytes.Clone(m.head), x.text...)
	}
}

// params finds the parameters of an element.
var params = regexp.MustCompile(`([^ =\]"]+)="((?:[^"\\]|\\(?s:.))*)"`)

// elements finds the elements of structured data.
var elements = regexp.MustCompile(`\[([^ =\]"]+)(?: *[^ =\]"]+="(?:[^"\\]|\\(?s:.))*")* *\]`)

const (
	timeForms = `(?:\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d|(?:\d{4} )?[A-Z][a-z][a-z] {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d)(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)?`
	zoneForms = `(?: [A-Z]{1,6})?`
	bomForm   = `(?:\x{feff})?`
	hostForm  = `(?:(?:Message forwarded from |From )H: |H[ \t](?:: )?)`
	tagForm   = `A(?:\[P\])?: ?` + bomForm
)

// forms are what a message has around its fields: H, A, P, M, D and T stand for those.
var forms = map[form]*regexp.Regexp{
	plain:   regexp.MustCompile(`^T$`),
	bare:    regexp.MustCompile(`^` + bomForm + `(?: *` + tagForm + `)?T$`),
	rfc3164: regexp.MustCompile(`^` + bomForm + ` *` + timeForms + zoneForms + `(?:|: | | +` + hostForm + `| +(?:` + hostForm + `)? *` + tagForm + `)T$`),
	rfc5424: regexp.MustCompile(`^` + bomForm + `1 (?:-|` + timeForms + `) (?:-|H) (?:-|A) (?:-|P) (?:-|M)(?:| (?:-|D)| (?:-|D) ` + bomForm + `| ` + bomForm + `)T$`),
	cisco: regexp.MustCompile(`^` + bomForm + ` *(?:` + timeForms + zoneForms + `: |` + timeForms + zoneForms + ` +H[ \t]: |` +
		`:? *(?:D: )?(?:\d{1,10}: +){0,2}(?:H: *)?(?:[*.]?` + timeForms + zoneForms + `: *)?)T$`),
}

// checkWhole: each byte of a message is in a field, or is one that stands between fields.
func checkWhole(t *testing.T, msg []byte, m *message) {
	t.Helper()
	rest, around := trimEnd(msg), ""
	if !bytes.HasPrefix(msg, rest) || strings.Trim(string(msg[len(rest):]), "\x00\n") != "" || strings.Count(string(msg[len(rest):]), "\n") > 1 {
		t.Fatalf("%q becomes %q", msg, rest)
	}
	rest = rest[len(m.head):]
	for _, f := range []struct {
		name  string
		value []byte
	}{{"D", ciscoData(m)}, {"H", m.host}, {"A", m.app}, {"P", m.pid}, {"M", m.msgid}, {"D", data5424(m)}} {
		if f.value == nil {
			continue
		}
		at := indexOf(rest, f.value)
		if at < 0 {
			t.Fatalf("%q: %s %q is not behind the field before", msg, f.name, f.value)
		}
		around += string(rest[:at]) + f.name
		rest = rest[at+len(f.value):]
	}
	head, ok := bytes.CutSuffix(rest, m.text)
	if around += string(head) + "T"; !ok || !forms[m.form].MatchString(around) {
		t.Fatalf("%q, of the form %s, has %q around its fields: %+v", msg, m.form, around, m)
	}
}

func ciscoData(m *message) []byte {
	if m.form == cisco {
		return m.data
	}
	return nil
}

func data5424(m *message) []byte {
	if m.form == rfc5424 {
		return m.data
	}
	return nil
}

// indexOf is where field, a part of b, is in it.
func indexOf(b, field []byte) int {
	n := cap(b) - cap(field)
	if n < 0 || n+len(field) > len(b) || !bytes.Equal(b[n:n+len(field)], field) {
		return -1
	}
	return n
}

// FuzzScan: each byte of a message is where the table says, whatever it is.
func FuzzScan(f *testing.F) {
	all, _ := examples(f)
	for i, x := range all {
		f.Add(x.message, byte(i), uint16(i%3))
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, msg []byte, flags byte, pid uint16) {
		s := &Settings{Source: "net", Any: flags&1 != 0, Local: flags&2 != 0, TrustHost: flags&4 != 0, SenderTime: flags&8 != 0, KeepPRI: flags&16 != 0,
			JSON: flags&32 != 0, Gaps: new(Gaps)}
		if flags&64 != 0 {
			s.Zone = berlin
		}
		from := &Origin{Host: "192.0.2.1", PID: int(pid), Now: readAt}
		before := bytes.Clone(msg)
		scanner := s.New()
		scanner.Scan(nil, append(bytes.Clone(msg[:len(msg)/2]), " x: y"...), from) // it may begin as msg does
		for range 2 {                                                              // the second time, the names are known
			scanner.m = message{}
			out, labels := scanner.scan(nil, msg, from)
			if !bytes.Equal(msg, before) {
				t.Fatalf("the message %q became %q", before, msg)
			}
			m := &scanner.m
			var alone message
			if alone.parse(trimEnd(msg), s.Any, s.Local, new(stem)); !reflect.DeepEqual(&alone, m) {
				t.Fatalf("%q behind a similar message is %+v; alone it is %+v", msg, m, alone)
			}
			checkWhole(t, msg, m)
			x := &said{m: m, s: s, from: from}
			x.read()
			if text := wire.AppendRecordText(nil, out); !bytes.Equal(text, x.text) {
				t.Fatalf("%q has the text %q; the table says %q", msg, text, x.text)
			}
			if labels.Host != x.host || labels.Source != x.source || string(labels.Attributes) != string(x.attributes) {
				t.Fatalf("%q has the labels %+v; the table says host %q, source %q, attributes %q", msg, labels, x.host, x.source, x.attributes)
			}
			if !labels.Time.IsZero() && (!s.SenderTime || labels.Time.Sub(readAt).Abs() > farthest) {
				t.Fatalf("%q shows the time %s", msg, labels.Time)
			}
		}
		for _, format := range []string{"syslog", "json"} {
			lineOf(t, format, s.New(), msg, from)
		}
	})
}

// fieldOf is a field made of what a fuzzer has, with the bytes that a sender may use.
func fieldOf(text, allowed, first string, most int) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteByte(allowed[int(c)%len(allowed)])
	}
	return first + b.String()[:min(b.Len(), most)]
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz0123456789-."
	usASCI = "!#$%&()*+,-./0123456789:;<>?@ABCXYZ\\^_`abcxyz{|}~"
)

// FuzzFields: the fields that a sender that follows the RFCs writes are those that are read.
func FuzzFields(f *testing.F) {
	f.Add("web1", "app", "17", "ID1", "text", byte(134))
	f.Add("", "", "", "", "\xef\xbb\xbf", byte(0))
	f.Fuzz(func(t *testing.T, host, app, pid, msgid, text string, pri byte) {
		text = strings.TrimRight(text, "\x00\n")
		head := "<" + strconv.Itoa(int(pri)%192) + ">"
		check := func(form form, msg string, fields ...string) {
			var m message
			m.parse([]byte(msg), false, false, new(stem))
			got := []string{string(m.host), string(m.app), string(m.pid), string(m.msgid), string(m.data), string(m.text)}
			if m.form != form || m.pri != int(pri)%192 || !m.time.known || !slices.Equal(got, fields) {
				t.Fatalf("%q has the form %s and the fields %q; want %q", msg, m.form, got, fields)
			}
			if a := theirs(form, []byte(msg)); form == rfc5424 && a != nil {
				if d := different(a, ours([]byte(msg))); d != "" {
					t.Fatalf("%q: go-syslog has another %s: %+v", msg, d, a)
				}
			}
		}
		bare := strings.TrimPrefix(text, "\xef\xbb\xbf")
		h, a, p, id := fieldOf(host, usASCI, "h", 255), fieldOf(app, usASCI, "a", 48), fieldOf(pid, usASCI, "p", 128), fieldOf(msgid, usASCI, "m", 32)
		data := `[x@32473 a="\"\]" b=""][` + fieldOf(msgid, lower, "y", 32) + `]`
		check(rfc5424, head+"1 2026-11-26T12:00:01.5+01:00 "+h+" "+a+" "+p+" "+id+" "+data+" "+text, h, a, p, id, data, bare)
		check(rfc5424, head+"1 2026-11-26T12:00:01Z - "+a+" - - - "+text, "", a, "", "", "", bare)
		h, a, p = fieldOf(host, lower, "h", 255), fieldOf(app, lower, "a", 32), fieldOf(pid, "0123456789", "1", 10)
		check(rfc3164, head+"Nov  6 12:00:01 "+h+" "+a+"["+p+"]: "+text, h, a, p, "", "", bare)
		check(rfc3164, head+"Nov  6 12:00:01 "+a+"["+p+"]: "+text, "", a, p, "", "", bare)
		check(rfc3164, head+"Nov 26 12:00:01 "+h+" "+a+": "+text, h, a, "", "", "", bare)
	})
}
