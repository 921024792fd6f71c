package scenario

import (
	"cmp"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// text is how the lines of a day's sources are written and read.
type text struct {
	agent  string              // keys of the agent; "": none
	keys   string              // of the agent's table of files; "": none
	encode func([]byte) []byte // nil: UTF-8
}

// records has five lines in each record.
const records = "multiline = {first = '^s\\d+ \\d*[05] ', timeout = \"300ms\"}\n"

// utf16 is a text of ASCII in UTF-16.
func utf16(order binary.AppendByteOrder) func([]byte) []byte {
	return func(text []byte) (wide []byte) {
		for _, c := range text {
			wide = order.AppendUint16(wide, uint16(c))
		}
		return wide
	}
}

// RecordKills kills the agent, and sometimes the collector, n times at random moments,
// while they send records of several lines.
func (p *Programs) RecordKills(n int) (*Result, error) {
	return p.textKills(plan{name: "records, kill", text: text{keys: records}}, n)
}

// WideKills is RecordKills for lines in UTF-16.
func (p *Programs) WideKills(n int) (*Result, error) {
	wide := text{keys: "encoding = \"utf-16le\"\n", encode: utf16(binary.LittleEndian)}
	return p.textKills(plan{name: "utf-16, kill", text: wide}, n)
}

// WideRecordKills is RecordKills for records in UTF-16, in files that are copied and
// truncated in the middle of a record.
func (p *Programs) WideRecordKills(n int) (*Result, error) {
	wide := text{keys: records + "encoding = \"utf-16be\"\n", encode: utf16(binary.BigEndian)}
	return p.textKills(plan{name: "utf-16 records, kill", text: wide, copyTruncate: true}, n)
}

// NumberKills is RecordKills for lines, lines in UTF-16, or records in files that are rotated by
// numbers a few times a second: the lines of all files of a source are in order.
func NumberKills(of string) func(p *Programs, n int) (*Result, error) {
	pl := plan{name: "numbers, kill", numbers: true, few: true, rotate: 300}
	switch of {
	case "utf-16":
		pl.text = text{keys: "encoding = \"utf-16le\"\n", encode: utf16(binary.LittleEndian)}
	case "records":
		pl.text = text{keys: records}
	}
	if of != "" {
		pl.name = of + " by " + pl.name
	}
	return func(p *Programs, n int) (*Result, error) { return p.textKills(pl, n) }
}

func (p *Programs) textKills(pl plan, n int) (*Result, error) {
	pl.log, pl.rotate = rotating, cmp.Or(pl.rotate, 6000)
	d, err := p.begin(pl)
	if err != nil {
		return nil, err
	}
	r, err := d.rounds(n, func(i int) error {
		moment(150 * time.Millisecond)
		return d.killOnce(i%4 == 3, true)
	})
	if err == nil && r.Joined == 0 && strings.Contains(pl.text.keys, "multiline") {
		err = errors.New("no record has several lines: nothing was tested")
	}
	return r, err
}
