package nats

import (
	"bytes"
	"encoding/json"
	"strings"

	"fanin/ingest"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// text is a message as whole lines, none too long; nil: it has no line.
func (n *Input) text(message []byte) []byte {
	text := plainText(message)
	if lines.FirstLong(text, n.Plain.MaxLine) < len(text) {
		out, divided := lines.Split(nil, text, n.Plain.MaxLine)
		n.lines.plain.Split(divided)
		text = out
	}
	return text
}

// plainText is a message as whole lines: its text, or the records that Fluent Bit put into it.
// nil: it has no line.
func plainText(message []byte) []byte {
	if text := fluentText(message); text != nil {
		return text
	}
	text := ingest.TrimEnd(bytes.Clone(message)) // the message may be read again
	if len(text) == 0 {
		return nil
	}
	return append(text, '\n')
}

// fluentText reads what Fluent Bit's nats output sends: a JSON array of records, each an array
// of a time, in seconds, and a map. Each becomes one line as in Fluent Bit's own format
// json_lines: the map, with the time as its "date". nil: the message is something else.
// (Fluent Bit, plugins/out_nats/nats.c.)
func fluentText(message []byte) []byte {
	const space = " \t\r\n"
	inner, isArray := bytes.CutPrefix(bytes.TrimLeft(message, space), []byte("["))
	if !isArray || !bytes.HasPrefix(bytes.TrimLeft(inner, space), []byte("[")) {
		return nil
	}
	var records [][]json.RawMessage
	if json.Unmarshal(message, &records) != nil {
		return nil
	}
	var text bytes.Buffer
	for _, r := range records {
		if len(r) != 2 || !isNumber(r[0]) || !bytes.HasPrefix(r[1], []byte("{")) {
			return nil
		}
		text.WriteString(`{"date":`)
		text.Write(r[0])
		var fields bytes.Buffer
		if json.Compact(&fields, r[1]) != nil {
			return nil
		}
		if fields.Len() > len("{}") {
			text.WriteByte(',')
		}
		text.Write(fields.Bytes()[1:])
		text.WriteByte('\n')
	}
	return text.Bytes()
}

func isNumber(v json.RawMessage) bool {
	return len(v) > 0 && (v[0] == '-' || '0' <= v[0] && v[0] <= '9')
}

// sourceOf is the source of a subject's lines. A subject may have bytes that a source may not
// have: the log would refuse the batch, and a stream would never get past the message.
func sourceOf(subject string) string {
	if subject == wire.SourceNotice {
		return "nats/" + subject
	}
	return wire.CleanSource(subject)
}

// isOwn reports, and counts, that a message's subject is one of fanin's own, or of the server's:
// it is not text.
func (n *Input) isOwn(subject string) bool {
	for _, prefix := range []string{string(n.Agents.Subjects), "_INBOX", "$JS", "$SYS"} {
		if prefix != "" && strings.HasPrefix(subject, prefix+".") {
			n.reject("subject", "a message on a subject of fanin's own, or of the server's, is not read as text",
				"subject", subject)
			return true
		}
	}
	return false
}
