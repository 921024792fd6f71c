package livetail

import (
	"encoding/json"
	"fmt"

	"fanin/sink/line"
)

// The formats of an event's data.
const (
	formatLine = "line" // as in the file
	formatBody = "body" // without time, host and source
	formatJSON = "json" // {"position", "time", "host", "source", "body"}
)

// Data returns a line of a log as a format has it: "line", "body" or "json", which shows its position too. The line has
// the log's own format, and no newline.
func Data(format, own string, text []byte, at fmt.Stringer) []byte {
	switch format {
	case formatBody:
		return line.Parse(own, text).Body
	case formatJSON:
		f := line.Parse(own, text)
		b, err := json.Marshal(struct {
			Position string `json:"position"`
			Time     string `json:"time,omitempty"`
			Host     string `json:"host,omitempty"`
			Source   string `json:"source,omitempty"`
			Body     string `json:"body"`
		}{at.String(), string(f.Time), string(f.Host), string(f.Source), string(f.Body)})
		if err == nil {
			return b
		}
	}
	return text
}
