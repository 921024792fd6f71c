package main

import (
	"fmt"
	"math/rand/v2"
)

// story makes the text of lines as servers write them: a few kinds of messages, in which addresses, ids,
// sizes and times differ. gzip makes about a fifth of it, as of real logs. It has no '@'.
type story struct{ rnd *rand.Rand }

func newStory(seed uint64) *story { return &story{rand.New(rand.NewPCG(seed, 2))} }

var (
	storyPaths  = []string{"/", "/login", "/api/v1/orders", "/api/v1/items", "/api/v1/cart", "/assets/app.js", "/search"}
	storyAgents = []string{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36", "curl/8.14.1"}
	storyEvents = []string{"order placed", "cart changed", "cache miss", "session renewed", "mail queued", "retrying upstream"}
	storyTables = []string{"orders", "items", "customers", "sessions", "payments"}
)

func (s *story) of(list []string) string { return list[s.rnd.IntN(len(list))] }

// append appends the text of a line of at least so many bytes, without its end.
func (s *story) append(b []byte, least int) []byte {
	for begin := len(b); ; b = append(b, "; "...) {
		switch n := s.rnd.IntN(10); {
		case n < 5:
			b = fmt.Appendf(b, `198.51.100.%d "GET %s?id=%d HTTP/1.1" %d %d %d.%03d "%s"`, s.rnd.IntN(256), s.of(storyPaths), s.rnd.IntN(1_000_000),
				[]int{200, 200, 200, 304, 404, 502}[s.rnd.IntN(6)], s.rnd.IntN(50_000), s.rnd.IntN(3), s.rnd.IntN(1000), s.of(storyAgents))
		case n < 8:
			b = fmt.Appendf(b, `level=info msg="%s" trace=%016x customer=%d items=%d ms=%d`, s.of(storyEvents), s.rnd.Uint64(), s.rnd.IntN(100_000), s.rnd.IntN(9), s.rnd.IntN(900))
		case n < 9:
			b = fmt.Appendf(b, "duration: %d.%03d ms  execute <unnamed>: SELECT id, total, state FROM %s WHERE id = %d", s.rnd.IntN(90), s.rnd.IntN(1000), s.of(storyTables), s.rnd.IntN(1_000_000))
		default:
			b = fmt.Appendf(b, "sshd[%d]: Failed password for invalid user admin from 203.0.113.%d port %d ssh2", s.rnd.IntN(65_536), s.rnd.IntN(256), s.rnd.IntN(65_536))
		}
		if len(b)-begin >= least {
			return b
		}
	}
}

// storyBlockSize is how much text comes before any comes again: far more than gzip looks back.
const storyBlockSize = 8 << 20

// storyBlock is a block of such lines.
func storyBlock(source int) *block {
	b, s := new(block), newStory(uint64(source))
	for len(b.text) < storyBlockSize {
		b.text = fmt.Appendf(b.text, "@%02d.%08d ", source, 0)
		b.text = append(s.append(b.text, 0), '\n')
		b.ends = append(b.ends, len(b.text))
	}
	b.number()
	return b
}
