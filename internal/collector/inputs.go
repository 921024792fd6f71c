package collector

import "fanin/internal/config"

// inputKinds lists every input that the program has, in the order in which they open.
// A new input is a package below ingest/, a file here with its table, and a line in
// this list; nothing else in this package knows it by name.
func inputKinds() []inputKind {
	return []inputKind{
		kind[tcpTable]("tcp"),
		kind[udpTable]("udp"),
		kind[unixTable]("unix"),
		kind[natsTable]("nats"),
		kind[redisTable]("redis"),
		kind[zmqTable]("zmq"),
		kind[gelfTable]("gelf"),
		kind[relpTable]("relp"),
	}
}

// inputKind is one kind of input.
type inputKind struct {
	name  string       // of its tables: [[collector.NAME]]
	table func() input // an empty table, with nothing set
}

// kind makes an entry of the list. T is the table.
func kind[T any, P interface {
	*T
	input
}](name string) inputKind {
	return inputKind{name, func() input { return P(new(T)) }}
}

// input is a table of the configuration that brings lines.
type input interface {
	opener
	// check reports the mistakes in the table.
	check(c *checks)
}

// checks is what a table is checked with.
type checks struct {
	config.Table
	insecure bool              // the flag --insecure
	others   []configuredInput // the tables of all inputs before this one
}

// needs is what an input needs from the machine, which is checked and divided before
// anything opens.
type needs struct {
	ports    []port
	path     string // of a unix socket that it makes; "": it makes none
	alone    bool   // of tables that read again what others have read: one of the kind works at a time
	memory   []memoryNeed
	conns    *connNeed    // nil: it accepts no connections
	files    func() error // tries the certificates and secrets that it reads; nil: it reads none
	secrets  func() error // reads what must be readable before anything opens; nil: nothing must
	handsOut bool         // lines go out through it, so groups are needed
}

// memoryNeed is a key that sets how much memory may be used.
type memoryNeed struct {
	key  string
	size *config.Size
}

// connNeed is how many connections there may be.
type connNeed struct {
	configured *int
	usual      int
	beyond     func(most int) int // how many more there may be for a while
}
