package gelf

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

var now = time.Date(2026, 11, 26, 7, 0, 0, 0, time.UTC)

// line is what a message becomes, as text: host, source, time if it is the sender's,
// attributes, and the text with its newlines.
func line(s Settings, message string) string {
	out, labels, rest := s.New().Scan(nil, []byte(message), &Origin{Host: "192.0.2.1", Now: now})
	got := labels.Host + " " + labels.Source + ":"
	if !labels.Time.IsZero() {
		got += " @" + labels.Time.UTC().Format("15:04:05.000000")
	}
	for name, value := range labels.Attributes.All() {
		got += " " + name + "=" + value
	}
	if len(rest) > 0 {
		got += " (and " + string(rest) + ")"
	}
	return got + " | " + string(wire.AppendRecordText(nil, out))
}

// TestMessages reads testdata/messages.txt: messages, and what each becomes.
func TestMessages(t *testing.T) {
	b, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]Settings{
		"text": {}, "keep": {KeepFields: true}, "json": {JSON: true},
		"trust": {TrustHost: true}, "time": {SenderTime: true, JSON: true},
	}
	seen := 0
	for _, group := range strings.Split(string(b), "\n\n") {
		message := ""
		for _, row := range strings.Split(group, "\n") {
			if row == "" || row[0] == '#' {
				continue
			}
			how, want, ok := strings.Cut(row, "> ")
			if !ok || settings[how] == (Settings{}) && how != "text" {
				message = row
				continue
			}
			seen++
			if got := strings.ReplaceAll(line(settings[how], message), "\n", "⏎"); got != want {
				t.Errorf("%s\n%s is %s\nwant    %s", message, how, got, want)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d lines were compared", seen)
	}
}

// Each message is one line with labels that the log takes; a text is never lost; what is
// valid JSON is read as encoding/json reads it.
func FuzzScan(f *testing.F) {
	for _, group := range messagesOf(f) {
		f.Add([]byte(group), true, true)
		f.Add([]byte(group), false, false)
	}
	f.Fuzz(func(t *testing.T, message []byte, asJSON, keep bool) {
		var want map[string]any
		valid := json.Valid(message) && json.Unmarshal(message, &want) == nil
		s := Settings{JSON: asJSON, KeepFields: keep, TrustHost: keep, SenderTime: keep, MaxLine: 256}
		x := s.New()
		for rest := bytes.Clone(message); len(rest) > 0; {
			before := len(rest)
			var out []byte
			var labels wire.Labels
			out, labels, rest = x.Scan(nil, rest, &Origin{Host: "192.0.2.1", Now: now})
			if len(rest) >= before {
				t.Fatal("nothing was read")
			}
			b := wire.Batch{Host: labels.Host, Source: labels.Source}
			b.Label(labels)
			b.Text = append(out, '\n')
			if err := b.Check(); err != nil {
				t.Fatalf("%q: %v", message, err)
			}
			for part := range bytes.Lines(b.Text) {
				if len(part) > 256 {
					t.Fatalf("a line of %d bytes", len(part))
				}
			}
			if short, ok := want["short_message"].(string); ok && valid && once(message) && len(message) < 200 {
				text := wire.AppendRecordText(nil, bytes.ReplaceAll(out, []byte(wire.SplitMark+"\n"+wire.SplitGoesOn), nil))
				if !strings.Contains(string(bytes.ToValidUTF8(text, []byte("\ufffd"))), string(trimEnd([]byte(short)))) {
					t.Fatalf("%q lost %q: %q", message, short, text)
				}
			}
		}
	})
}

// once reports whether no name in a message can stand for its text twice, or be another's.
func once(message []byte) bool {
	lower := bytes.ToLower(message)
	return bytes.Count(lower, []byte("short_message")) == 1 && !bytes.Contains(message, []byte("\\u")) && utf8Valid(message)
}

func utf8Valid(b []byte) bool { return bytes.Equal(b, bytes.ToValidUTF8(b, []byte("?"))) }

func messagesOf(t testing.TB) (all []string) {
	b, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range strings.Split(string(b), "\n") {
		if row != "" && row[0] != '#' && !strings.Contains(row[:min(len(row), 8)], "> ") {
			all = append(all, row)
		}
	}
	return all
}

// Members are those that encoding/json finds, in their order.
func FuzzObject(f *testing.F) {
	for _, m := range messagesOf(f) {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		members, _, ok := object(bytes.Clone(b), nil)
		if !ok && len(members) < maxMembers && json.Valid(b) && bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
			t.Fatalf("%q was not read", b)
		}
		if !ok || !json.Valid(b) {
			return
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.Token()
		for _, m := range members {
			name, err := d.Token()
			var value json.RawMessage
			if err != nil || d.Decode(&value) != nil {
				t.Fatalf("%q has no member %q: %v", b, m.name, err)
			}
			var want string
			if got := unquote(bytes.Clone(m.name)); utf8Valid(got) && string(got) != name {
				t.Fatalf("%q: the name %q, want %q", b, got, name)
			}
			if m.kind != text {
				if string(m.value) != string(value) {
					t.Fatalf("%q: the value %q, want %q", b, m.value, value)
				}
			} else if got := unquote(bytes.Clone(m.value)); utf8Valid(got) && json.Unmarshal(value, &want) == nil && string(got) != want {
				t.Fatalf("%q: the value %q, want %q", b, got, want)
			}
		}
		if d.More() {
			t.Fatalf("%q has more than %d members", b, len(members))
		}
	})
}
