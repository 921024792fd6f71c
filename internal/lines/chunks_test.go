package lines

import (
	"bytes"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// TestChunks: chunks keep both bounds, join to the text, and are as long as they can be.
func TestChunks(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":    "",
		"one line":   "x\n",
		"newlines":   strings.Repeat("\n", 3*wire.MaxCutLines+1),
		"long lines": strings.Repeat(strings.Repeat("x", wire.MaxCutText/3)+"\n", 7),
		"one longer": strings.Repeat("y", wire.MaxCutText+5) + "\n" + "z\n",
		"both":       strings.Repeat("\n", wire.MaxCutLines) + strings.Repeat(strings.Repeat("x", 100)+"\n", wire.MaxCutLines),
	} {
		var joined []byte
		var last []byte
		for chunk := range Chunks([]byte(text)) {
			lines := Count(chunk)
			switch {
			case chunk[len(chunk)-1] != '\n':
				t.Errorf("%s: a chunk ends within a line", name)
			case lines > wire.MaxCutLines, len(chunk) > wire.MaxCutText && lines > 1:
				t.Errorf("%s: a chunk of %d lines and %d bytes", name, lines, len(chunk))
			}
			first := bytes.IndexByte(chunk, '\n') + 1
			if last != nil && Count(last) < wire.MaxCutLines && len(last)+first <= wire.MaxCutText {
				t.Errorf("%s: the next line would have fitted behind %d bytes", name, len(last))
			}
			joined, last = append(joined, chunk...), chunk
		}
		if string(joined) != text {
			t.Errorf("%s: the chunks do not join to the text", name)
		}
	}
}
