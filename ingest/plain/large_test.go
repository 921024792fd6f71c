package plain

import (
	"fmt"
	"strings"
	"testing"

	"fanin/ingest/syslog"
	"fanin/internal/wire"
)

// TestLargestBatch: messages whose bytes take two each, and many with labels of their own behind
// them, are not too much for one batch: it would be refused, and all of its lines lost.
func TestLargestBatch(t *testing.T) {
	var text strings.Builder
	for _, n := range []int{1 << 20, 900_000} {
		fmt.Fprintf(&text, "%d <13>%s", n, strings.Repeat("\n", n-len("<13>")))
	}
	const small = 4000
	for i := range small {
		fmt.Fprintf(&text, "<13>a%d: x\n", i)
	}
	k, _ := inBlocks(t, []byte(text.String()), nil, &syslog.Settings{Source: "tcp"}, wire.MaxLine)
	if got := k.lines[len(k.lines)-1]; !strings.HasSuffix(got, ` a3999: "x"`) {
		t.Errorf("the last line is %s", got)
	}
}
