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
	last   *lastLines    // keeps lines in place of printing them; nil: they are printed
}

func newCatPrinter(stdout io.Writer, format string, o *catOptions, filter line.Filter) (p *catPrinter, err error) {
	p = &catPrinter{format: format, output: outputs[o.output]}
	if p.output == "" {
		return nil, errOutput(o.output)
	}
	if p.painter, err = newPainter(stdout, o.color, o.highlight); err != nil {
		return nil, err
	}
	p.painter.json = o.output == "json"
	if p.output == outputs["default"] {
		p.painter.format = format
	}
	if filter.Chooses() {
		p.match, err = line.NewMatcher(format, filter)
	}
	return p, err
}

// piece prints the lines of a piece that are chosen.
func (c *catPrinter) piece(p merge.Piece) (err error) {
	plain := !c.safe && !c.color && c.highlight == nil && c.last == nil
	if c.match == nil && c.output == outputs["default"] && plain {
		_, err = c.w.Write(p.Text)
		return err
	}
	each := func(begin, end int) bool {
		at := p.At
		at.At.Offset += int64(begin)
		data := livetail.Data(c.output, c.format, p.Text[begin:end-1], at)
		if c.last != nil {
			c.last.add(data)
			return true
		}
		err = c.line(data)
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

// matcher matches the lines that are printed.
func (c *catPrinter) matcher() *line.Matcher {
	if c.match == nil {
		return new(line.Matcher)
	}
	return c.match
}
