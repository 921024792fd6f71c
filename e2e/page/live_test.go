package page

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// gather makes the page remember the text of each row that comes into the document at its end, in
// their order: also of those that have left it again.
const gather = `window.gathered = [];
new MutationObserver(all => { for (const m of all) for (const n of m.addedNodes) {
	if (!m.nextSibling && n.classList.contains('row')) gathered.push(n.querySelector('.b').textContent);
} }).observe(document.getElementById('list'), {childList: true}); true`

// The collector is killed in the middle of the live tail, again and again. The page shows each line
// once and in order, and the trouble in between.
func TestKilled(t *testing.T) {
	c := newCollector(t, "")
	p := open(t, startBrowser(t), c, "/", 1200, 800)
	c.send(numbered(0, 1)...)
	p.until(`document.querySelectorAll('#list .row').length === 1`)
	eval[bool](p, gather)
	const rounds, each = 4, 200
	next := 1
	for range rounds {
		for range 4 {
			c.send(numbered(next, each/4)...)
			next += each / 4
		}
		wait(t, "the log has all of them", func() bool { return strings.Count(c.has("line"), "\ndata: ") == next })
		c.kill()
		p.until(`!document.getElementById('trouble').hidden && /does not answer/.test(document.getElementById('trouble').textContent)`)
		c.start()
		p.until(`document.getElementById('trouble').hidden`) // fewer lines at a time than the document has rows
	}
	p.until(fmt.Sprintf(`gathered.length >= %d`, next-1))
	p.until(`document.getElementById('trouble').hidden`)
	var want []string // as the log has them: connections overtake each other
	for _, line := range regexp.MustCompile(`line \d{7}`).FindAllString(c.has("line"), -1)[1:] {
		want = append(want, line)
	}
	if len(want) != next-1 {
		t.Fatalf("the log has %d lines, want %d", len(want), next-1)
	}
	if got := eval[[]string](p, "gathered"); !slices.Equal(got, want) {
		t.Errorf("%d lines were shown, want %d: %s", len(got), len(want), firstDifference(got, want))
	}
	p.clean()
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d %q, want %q", i, got[i], want[i])
		}
	}
	return "one is longer"
}

// footprint is what the page holds, after the garbage was collected.
func footprint(p *tab) (nodes int64, heap float64) {
	p.t.Helper()
	call(p, heapprofiler.CollectGarbage, cdp.Empty{})
	return call(p, memory.GetDOMCounters, cdp.Empty{}).Nodes, call(p, runtime.GetHeapUsage, cdp.Empty{}).UsedSize
}

// A million lines go through the live tail. What the page holds stays bounded, and the last
// line is at the end.
func TestMillion(t *testing.T) {
	c := newCollector(t, "")
	p := open(t, startBrowser(t), c, "/", 1200, 800)
	lines := 1_000_000
	if testing.Short() {
		lines = 100_000
	}
	const block = 20_000
	send, end := c.connect()
	defer end()
	for i := 0; i < lines; i += block {
		send(numbered(i, block)...)
		// The page shows what it can: it may skip, and says so.
		if i%(10*block) == 0 {
			nodes, heap := footprint(p)
			if nodes > 20_000 || heap > 96<<20 {
				t.Errorf("after %d lines: %d nodes, %.0f bytes of heap", i, nodes, heap)
			}
		}
	}
	last := fmt.Sprintf("line %07d", lines-1)
	p.until(fmt.Sprintf(`[...document.querySelectorAll('#list .row .b')].some(e => e.textContent === %q)`, last))
	rows := eval[int](p, `document.querySelectorAll('#list > *').length`)
	nodes, heap := footprint(p)
	t.Logf("%d lines: %d rows in the document, %d nodes, %.1f MiB of heap", lines, rows, nodes, heap/(1<<20))
	if rows > 400 || nodes > 20_000 || heap > 96<<20 {
		t.Errorf("%d rows, %d nodes, %.0f bytes of heap", rows, nodes, heap)
	}
	if eval[bool](p, `!document.querySelector('#list .note')`) {
		p.contiguous()
	}
	p.clean()
}

var digits = regexp.MustCompile(`\d+`)

func number(t *testing.T, line string) int {
	n, err := strconv.Atoi(digits.FindString(line))
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return n
}

// Paused, the page keeps its place: nothing moves, what comes is counted, and after Continue all of
// it is there.
func TestPause(t *testing.T) {
	c := newCollector(t, "")
	send, end := c.connect()
	defer end()
	send(numbered(0, 50)...)
	p := open(t, startBrowser(t), c, "/", 1200, 800)
	p.until(`document.querySelectorAll('#list .row').length === 50`)
	p.keys(" ")
	p.until(`document.getElementById('pause').textContent === 'Continue'`)
	before := eval[float64](p, `document.getElementById('list').scrollTop`)
	send(numbered(50, 1000)...)
	p.until(`document.getElementById('jump').textContent.startsWith('1,000 lines since')`)
	if after := eval[float64](p, `document.getElementById('list').scrollTop`); after != before {
		t.Errorf("the list moved from %v to %v", before, after)
	}
	p.keys(" ")
	p.until(`document.getElementById('jump').hidden && [...document.querySelectorAll('#list .row .b')].at(-1).textContent === 'line 0001049'`)
	// Far more than a page keeps: it stops to read, and skips to the end only when it is told to.
	p.keys(" ")
	send(numbered(1050, 30_000)...)
	p.until(`/the place is kept/.test(document.getElementById('mode').textContent)`)
	p.do(chromedp.Click("#jump"))
	p.until(`[...document.querySelectorAll('#list .row .b')].at(-1).textContent === 'line 0031049'`)
	p.contiguous()
}
