package depot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"fanin/sink"
)

// Marks say how far the log of a partition was at the end of a file: with them, and what the stream has
// behind Last, the rest of a log that was lost is made again. An object has them as JSON, compressed.
type Marks struct {
	Last    uint64            `json:"last"` // the log has all messages of the stream up to this one
	Streams []sink.StreamMark `json:"streams"`
}

// maxMarks bounds the JSON of what is read: a log has up to some hundred thousand streams.
const maxMarks = 1 << 30

// Encode is the marks as an object has them.
func (m *Marks) Encode() ([]byte, error) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	if err := json.NewEncoder(zip).Encode(m); err != nil {
		return nil, err
	}
	err := zip.Close()
	return b.Bytes(), err
}

// Marks reads the marks at the end of a file that has them.
func (d *Depot) Marks(ctx context.Context, m Manifest) (marks Marks, err error) {
	raw, err := d.object(ctx, m.Log, m.Marks)
	if err != nil {
		return marks, err
	}
	defer raw.Close()
	zip, err := gzip.NewReader(raw)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(zip, maxMarks)).Decode(&marks)
	}
	if err == nil {
		err = raw.Close()
	}
	if err != nil {
		return marks, fmt.Errorf("read %s/%s: %w", m.Log, m.Marks.Name, err)
	}
	return marks, nil
}
