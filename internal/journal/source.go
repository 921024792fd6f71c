package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fanin/internal/wire"
)

// sourceNamer makes the source of an entry's lines from a template:
//
//	{unit}        the service without ".service"; of entries of no service, as {identifier}
//	{identifier}  what the program calls itself in the journal, else the name of its process
//	{pid}         the id of the process, "-" if there is none
//	{host}        the machine's name in the entry, "-" if there is none
//
// Where PID is set and the template has no {pid}, the source of an entry with one is
// followed by it, as in "nginx[17]".
type sourceNamer struct {
	parts  []string // text and placeholders in turn, text first
	addPID bool
	raw    []byte
	clean  map[string]string // names that the log may have, by raw name
}

// maxNames is how many names are held.
const maxNames = 4096

// newSourceNamer reads a template.
func newSourceNamer(template string, withPID bool) (*sourceNamer, error) {
	n := &sourceNamer{clean: make(map[string]string)}
	rest := cmp.Or(template, defaultSource)
	for {
		text, behind, ok := strings.Cut(rest, "{")
		n.parts = append(n.parts, text)
		if !ok {
			break
		}
		name, after, closed := strings.Cut(behind, "}")
		switch {
		case !closed:
			return nil, fmt.Errorf("source: %q: a { without its }", template)
		case !slices.Contains(placeholders, name):
			return nil, fmt.Errorf("source: %q: {%s} is not known; want {unit}, {identifier}, {pid} or {host}",
				template, name)
		}
		n.parts, rest = append(n.parts, name), after
	}
	n.addPID = withPID && len(n.parts) > 1 && !strings.Contains(template, "{pid}")
	return n, nil
}

var placeholders = []string{"unit", "identifier", "pid", "host"}

// defaultSource is the template of sources if none is set.
const defaultSource = "{unit}"

// of returns the source of an entry.
func (n *sourceNamer) of(e *entry) string {
	n.raw = n.raw[:0]
	for i, part := range n.parts {
		switch {
		case i%2 == 0:
			n.raw = append(n.raw, part...)
		case part == "unit":
			n.raw = append(n.raw, e.unit()...)
		case part == "identifier":
			n.raw = append(n.raw, e.identifier()...)
		case part == "pid":
			n.raw = append(n.raw, e.or(pid, "-")...)
		default:
			n.raw = append(n.raw, e.or(hostname, "-")...)
		}
	}
	if id := e.get(pid); n.addPID && len(id) > 0 {
		n.raw = append(append(append(n.raw, '['), id...), ']')
	}
	if name, ok := n.clean[string(n.raw)]; ok {
		return name
	}
	if len(n.clean) >= maxNames {
		clear(n.clean)
	}
	name := wire.CleanSource(string(n.raw))
	n.clean[string(n.raw)] = name
	return name
}

var serviceSuffix = []byte(".service")

// unit names the service that an entry is from. What runs in a session of a user, or in the
// manager of a user's services, is known by its identifier.
func (e *entry) unit() []byte {
	for _, name := range [...]int{userUnit, unit} {
		service, ok := bytes.CutSuffix(e.get(name), serviceSuffix)
		if ok && len(service) > 0 && !bytes.HasPrefix(service, []byte("user@")) {
			return service
		}
	}
	return e.identifier()
}

// identifier is what the program calls itself.
func (e *entry) identifier() []byte {
	for _, name := range [...]int{identifier, command, transport} {
		if v := e.get(name); len(v) > 0 {
			return v
		}
	}
	return []byte("journal")
}
