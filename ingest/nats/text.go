package nats

import (
	"bytes"
	"encoding/json"

	"fanin/ingest"
)

// plainLines is what a message holds, as whole lines: its text, or the records
// that Fluent Bit put into it. nil: no line.
func plainLines(message []byte) []byte {
	if lines := fluentLines(message); lines != nil {
		return lines
	}
	text := ingest.TrimEnd(bytes.Clone(message)) // it may be read again
	if len(text) == 0 {
		return nil
	}
	return append(text, '\n')
}

// fluentLines reads what Fluent Bit's nats output sends: a JSON array of records,
// each an array of a time, in seconds, and a map. Each becomes one line as Fluent
// Bit's own format json_lines has it: the map, with the time as its "date". nil:
// the message is something else. (Fluent Bit, plugins/out_nats/nats.c.)
func fluentLines(message []byte) []byte {
	if trimmed := bytes.TrimLeft(message, " \t\r\n"); !bytes.HasPrefix(trimmed, []byte("[")) || !bytes.HasPrefix(bytes.TrimLeft(trimmed[1:], " \t\r\n"), []byte("[")) {
		return nil
	}
	var records [][]json.RawMessage
	if json.Unmarshal(message, &records) != nil {
		return nil
	}
	var lines bytes.Buffer
	for _, r := range records {
		if len(r) != 2 || !isNumber(r[0]) || !bytes.HasPrefix(r[1], []byte("{")) {
			return nil
		}
		lines.WriteString(`{"date":`)
		lines.Write(r[0])
		var fields bytes.Buffer
		if json.Compact(&fields, r[1]) != nil {
			return nil
		}
		if fields.Len() > len("{}") {
			lines.WriteByte(',')
		}
		lines.Write(fields.Bytes()[1:])
		lines.WriteByte('\n')
	}
	return lines.Bytes()
}

func isNumber(v json.RawMessage) bool {
	return len(v) > 0 && (v[0] == '-' || '0' <= v[0] && v[0] <= '9')
}
