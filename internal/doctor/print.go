package doctor

import (
	"io"

	"fanin/internal/escape"
)

// Print prints the report for people: findings by severity, then one line of what is fine.
func (r Report) Print(w io.Writer) {
	for _, f := range r {
		if f.Level == OK {
			continue
		}
		word := map[Level]string{Wrong: "WRONG", Risk: "risk"}[f.Level]
		escape.Fprintf(w, "%-5s  %s: %s\n", word, f.Where, f.What)
		if f.Remedy != "" {
			escape.Fprintf(w, "       remedy: %s\n", f.Remedy)
		}
	}
	if text := r.fine(); text != "" {
		escape.Fprintf(w, "fine:  %s\n", text)
	}
}
