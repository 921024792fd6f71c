package collector

import (
	"bytes"
	"io"

	"fanin/sink/line"
	"fanin/sink/livetail"
	"fanin/sink/merge"
)

// catPrinter prints lines.
type catPrinter struct {
	*painter
	match  *line.Matcher // nil: all lines
	format string        // of the log
	output string        // as livetail.Data calls it
}

func newCatPrinter(stdout io.Writer, format, output string, filter line.Filter) (p *catPrinter, err error) {
	p = &catPrinter{format: format, output: outputs[output]}
	if p.output == "" {
		return nil, errOutput(output)
	}
	if p.painter, err = newPainter(stdout, "never", ""); err != nil {
		return nil, err
	}
	p.painter.json = output == "json"
	if filter.Chooses() {
		p.match, err = line.NewMatcher(format, filter)
	}
	return p, err
}

// piece prints the lines of a piece that are chosen.
func (c *catPrinter) piece(p merge.Piece) (err error) {
	if c.match == nil && c.output == outputs["default"] && !c.safe {
		_, err = c.w.Write(p.Text)
		return err
	}
	each := func(begin, end int) bool {
		at := p.At
		at.At.Offset += int64(begin)
		err = c.line(livetail.Data(c.output, c.format, p.Text[begin:end-1], at))
		return err == nil
	}
	if c.match != nil {
		c.match.Find(p.Text, each)
		return err
	}
	for begin := 0; begin < len(p.Text); {
		end := begin + bytes.IndexByte(p.Text[begin:], '\n') + 1
		if !each(begin, end) {
			break
		}
		begin = end
	}
	return err
}
