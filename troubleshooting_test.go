package fanin_test

import (
	"go/ast"
	"go/constant"
	"go/types"
	"os"
	"regexp"
	"strings"
	"testing"
)

// messages are the functions that log or count a message, with the place of the message
// among their arguments. A notice is known by its first word.
var messages = map[string]int{
	"log/slog.Logger.Warn":                      0,
	"log/slog.Logger.Error":                     0,
	"fanin/internal/retry.Log.Warn":             1,
	"fanin/internal/retry.Log.Error":            1,
	"fanin/ingest/stream.Conn.Warn":             1,
	"fanin/ingest/stream.Conn.Reject":           1,
	"fanin/ingest/stream.Listener.refuseLocked": 2,
	"fanin/ingest/datagram.Socket.Refuse":       0,
	"fanin/ingest/nats.Input.reject":            1,
	"fanin/internal/collector.web.rejected":     1,
	"fanin/internal/tail.Tailer.warnOnce":       1,
	"fanin/sink.Sink.Notice":                    0,
}

// composed are the functions that log a text which another function composed: the
// functions above themselves, and those whose texts the page has under a heading of
// their own.
var composed = map[string]bool{
	"retry.Warn": true, "retry.Error": true, "stream.Warn": true, "stream.Reject": true, "stream.refuseLocked": true,
	"datagram.Refuse": true, "nats.reject": true, "collector.rejected": true, "tail.warnOnce": true,
	"sink.Notice": true, "sink.reportStall": true, "stream.serve": true,
}

// Each warning and each error that the programs log is in docs/troubleshooting.md,
// word for word, so that an operator finds it there.
func TestDocumentsTroubleshooting(t *testing.T) {
	b, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	fset, own := load(t)
	found := 0
	for _, s := range own {
		if checker(s.ImportPath) || strings.HasSuffix(s.ImportPath, "test") {
			continue
		}
		for _, f := range s.files {
			for _, d := range f.Decls {
				ast.Inspect(d, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					message := s.logged(call)
					if message == nil {
						return true
					}
					text := s.constant(message)
					if text == "" {
						if fn, ok := d.(*ast.FuncDecl); !ok || !composed[s.types.Name()+"."+fn.Name.Name] {
							t.Errorf("%s: the message is not a constant", fset.Position(call.Pos()))
						}
						return true
					}
					if found++; !strings.Contains(string(b), "`"+text) {
						t.Errorf("%s: docs/troubleshooting.md does not have `%s`", fset.Position(call.Pos()), text)
					}
					return true
				})
			}
		}
	}
	metrics, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`fanin_[a-z_]+`).FindAllString(string(b), -1) {
		if !strings.Contains(string(metrics), "`"+name) {
			t.Errorf("docs/troubleshooting.md names the metric %s, which docs/metrics.md does not have", name)
		}
	}
	if found < 60 {
		t.Errorf("found only %d messages: is the search right?", found)
	}
}

// logged returns the message that a call logs as a warning or an error; nil: it is
// another call.
func (s *source) logged(call *ast.CallExpr) ast.Expr {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || call.Ellipsis.IsValid() && len(call.Args) == 1 {
		return nil
	}
	f, ok := s.info.Uses[sel.Sel].(*types.Func)
	if !ok || f.Pkg() == nil {
		return nil
	}
	at, ok := messages[funcName(f)]
	if !ok {
		return nil
	}
	return call.Args[at]
}

// notice is the first word of a notice.
var notice = regexp.MustCompile(`^[A-Z]{4,} `)

// constant returns the beginning of a message that is constant: all of it, or what
// stands before the first verb or variable.
func (s *source) constant(x ast.Expr) string {
	if v := s.info.Types[x].Value; v != nil {
		text := constant.StringVal(v)
		if word := notice.FindString(text); word != "" {
			return strings.TrimSpace(word) + "`"
		}
		return text
	}
	switch x := x.(type) {
	case *ast.BinaryExpr:
		return s.constant(x.X)
	case *ast.CallExpr: // a Sprintf
		text := s.constant(x.Args[0])
		before, _, _ := strings.Cut(text, "%")
		return before
	}
	return ""
}
