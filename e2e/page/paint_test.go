package page

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The log of TestFirstPaint. The goal is 300 ms with 20 GiB on a quiet machine, as root:
//
//	go test -v -timeout 2h -run TestFirstPaint . -history-dir /DISK/history -history-bytes 21474836480 -history-lines 40000000
var (
	historyDir   = flag.String("history-dir", "", "directory of the log of a month, which is made if it is not there; default: one for this test alone")
	historyBytes = flag.Int("history-bytes", 16<<20, "bytes of its text")
	historyLines = flag.Int("history-lines", 60_000, "its lines")
)

// watch notes when the histogram, all of it, and the first line are on the screen, in milliseconds since
// the page was asked for.
const watch = `window.moments = {};
new MutationObserver(() => {
	const seen = what => { if (!(what in moments)) { moments[what] = 0; requestAnimationFrame(() => setTimeout(() => { moments[what] = performance.now(); })); } };
	const chart = document.getElementById('chart'), note = document.getElementById('chart-note');
	if (chart && !chart.hidden && /bars of/.test(note.textContent)) { seen('histogram'); if (!/counted/.test(note.textContent)) seen('complete'); }
	if (document.querySelector('#list .row')) seen('line');
}).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});`

// TestFirstPaint opens the page with the histogram of a month, in which each line was a batch and 200 hosts and
// sources take turns: after a start of the collector, and by hand and as root with nothing of the log in memory. It
// asserts no times, and logs them.
func TestFirstPaint(t *testing.T) {
	dir := *historyDir
	if dir == "" {
		dir = t.TempDir()
	}
	browser := startBrowser(t)
	if _, err := os.Stat(filepath.Join(dir, "all.log")); err != nil {
		made := exec.Command("go", "run", "./e2e/bench", "-role", "history", dir, fmt.Sprint(*historyBytes), fmt.Sprint(*historyLines))
		made.Dir, made.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
		out, err := made.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s", out)
	}
	c := configure(t, dir, "keep_bytes = \"off\"\ncompress = \"none\"\nrotate_size = \"off\"")
	kinds := []string{"first-paint", "first-contentful-paint", "histogram", "complete", "line"}
	took := make(map[string][]float64)
	for range 5 {
		c.start()
		p := open(t, browser, c, "/healthz", 1280, 760)
		call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch})
		cold := *historyDir != "" && dropCaches()
		p.do(chromedp.Navigate(p.url + "/?from=start"))
		p.until(`moments.histogram && moments.complete && moments.line`)
		got := eval[map[string]float64](p, `({...moments, ...Object.fromEntries(performance.getEntriesByType('paint').map(x => [x.name, x.startTime]))})`)
		for _, k := range kinds {
			took[k] = append(took[k], got[k])
		}
		if note := eval[string](p, `document.getElementById('chart-note').textContent`); !strings.Contains(note, " lines, bars of ") {
			t.Errorf("the histogram says %q", note)
		}
		t.Logf("cold %v: %v", cold, got)
		c.stop()
	}
	for _, k := range kinds {
		slices.Sort(took[k])
		t.Logf("%-22s median %4.0f ms, worst %4.0f ms", k, took[k][2], took[k][4])
	}
}

// dropCaches has the kernel forget what it has of files, and reports whether it could.
func dropCaches() bool {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0o200) == nil
}
