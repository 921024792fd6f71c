package journal

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire/appendertest"
)

// TestHeaders: the headers of journal files, as releases of systemd print them.
func TestHeaders(t *testing.T) {
	got := parseHeaders(strings.NewReader(`File path: /x/a@1.journal
Sequential number ID: 2aa7938084e446b09a94a2e0981f0157
State: ARCHIVED
Tail sequential number: 12 (c)
File path: /x/a.journal
Sequential number ID: 2aa7938084e446b09a94a2e0981f0157
Tail sequential number: 34 (22)
File Path: /x/b.journal
Sequential Number ID: 00000000000000000000000000000007
Tail Sequential Number: 5 (5)
File path: /x/damaged
Tail sequential number: 99 (63)
Sequential number ID: garbage
Tail sequential number: 98
`))
	first, _, err := parseCursor([]byte("s=2aa7938084e446b09a94a2e0981f0157;i=1"))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[sequenceID]uint64{first: 34, {15: 7}: 5}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestLastEntryUnread: journalctl may have missed the last entry of a file although later ones of
// other files came. A new run reads it. One that cannot be read costs one new run, and no more.
func TestLastEntryUnread(t *testing.T) {
	fake(t, `case "$*" in *--header*) echo >> "$dir/headers"
	printf 'Sequential number ID: 0123456789abcdef0123456789abcdef\nTail sequential number: 5 (5)\n'
	printf 'File path: b\nSequential number ID: %032x\nTail sequential number: 2 (2)\n' 7
	printf 'File path: c\nSequential number ID: %032x\nTail sequential number: 9 (9)\n' 8; exit 0 ;;
esac
other() { printf '__CURSOR=s=%032x;i=%x;b=0\n__REALTIME_TIMESTAMP=%s\nMESSAGE=other %s\n\n' 7 $1 $((1699999999000000 + $1)) $1; }
[ -n "$probe" ] && { print 5 5; exit 0; }
other 1; [ $run -gt 1 ] && other 2
print 1 5; idle`)
	out := new(appendertest.Memory)
	j := run(t, out, Settings{Directory: "x", Quiet: 50 * time.Millisecond, AnswerWithin: 300 * time.Millisecond})
	await(t, out, append(append([]string{"other 1"}, entries(1, 5)...), "other 2"))
	dir, _, _ := strings.Cut(os.Getenv("PATH"), string(os.PathListSeparator))
	waittest.Until(t, "three more looks at the headers", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "headers"))
		return len(b) >= 4
	})
	if n := j.Counts()["journal_restarts"]; n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}
