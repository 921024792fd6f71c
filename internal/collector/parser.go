package collector

import (
	"io"
	"time"

	"fanin/ingest/gelf"
	"fanin/ingest/plain"
	"fanin/ingest/syslog"
	"fanin/internal/escape"
	"fanin/internal/wire"
)

// parser shows messages.
type parser struct {
	run  func(in io.Reader) error // shows all messages of in
	peer string
	out  io.Writer
	json bool

	n int // messages
}

// runSyslog shows messages of syslog, as a connection finds and understands them.
func (p *parser) runSyslog(s *syslog.Settings) func(in io.Reader) error {
	return func(in io.Reader) error {
		scanner := s.New()
		found := func(msg []byte, isSyslog bool) error {
			p.n++
			if !isSyslog {
				return p.show(&understood{Message: p.n, Form: formNone, TimeOf: timeRead, Time: shownTime(time.Now()),
					Host: p.peer, Source: s.Source, Text: string(msg)})
			}
			return p.show(understand(p.n, scanner, msg, &syslog.Origin{Host: p.peer, Now: time.Now()}))
		}
		return (&plain.Protocol{Syslog: s}).Messages(in, found, func(what string) {
			if !p.json {
				escape.Fprintf(p.out, "-   wrong frame: %s (fanin_syslog_wrong_frames_total)\n", what)
			}
		})
	}
}

// runGELF shows messages of GELF.
func (p *parser) runGELF(s gelf.Settings) func(in io.Reader) error {
	return func(in io.Reader) error {
		from := gelf.Origin{Host: p.peer, Now: time.Now()}
		return (&gelf.Protocol{Settings: s}).Messages(in, &from, func(line []byte, labels wire.Labels) error {
			p.n++
			m := &understood{Message: p.n, Form: "GELF"}
			m.setLine(line, &labels, from.Now)
			return p.show(m)
		})
	}
}

// show shows one message.
func (p *parser) show(m *understood) error {
	if p.json {
		return m.printJSON(p.out)
	}
	m.print(p.out, p.peer)
	return nil
}
