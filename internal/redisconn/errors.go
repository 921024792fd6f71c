package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ServerError is what a server answered to a command instead of doing it.
type ServerError struct {
	Code string // the first word: ERR, NOAUTH, OOM, MOVED, ...
	Text string // all of it
}

// Error is the text of the server.
func (e *ServerError) Error() string { return "the server answers: " + e.Text }

// newServerError makes a ServerError. Some servers repeat the arguments of a command that they
// do not know, which may be AUTH with the password: these are left out.
func newServerError(text string) *ServerError {
	text, _, _ = strings.Cut(text, ", with args beginning with")
	code, _, _ := strings.Cut(text, " ")
	return &ServerError{Code: code, Text: text}
}

// connError is an error of the connection to a server, or of making one.
type connError struct{ error }

func (e *connError) Unwrap() error { return e.error }

// during says what an error interrupted: doing, which has the name of the server, or short where
// the error has that name itself, as those of a connection have.
func during(doing, short string, err error) error {
	if errors.As(err, new(*connError)) {
		doing = short
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Class is what an error means for the caller.
type Class int

// The classes of errors. After Away and Malformed the connection is closed; after the others
// it can be used, except after Moved and ReadOnly, where another server has to be asked: Dial
// finds it.
const (
	None         Class = iota // no error
	Elsewhere                 // the error is none of a server
	Away                      // the server does not answer, or the connection broke
	Malformed                 // what answers does not speak the protocol, or breaks it
	Loading                   // the server reads its data, or is otherwise not ready yet
	ReadOnly                  // the server is a replica, or cannot write to its disk
	OutOfMemory               // the server has reached its maxmemory
	Moved                     // another node of the Cluster has the key, or none
	NoAuth                    // the login is missing or wrong
	NoPermission              // an ACL forbids this user the command, the key or the channel
	WrongType                 // the key has a value of another type
	Busy                      // the server does not serve now: a script runs, or it has too many clients
	NoScript                  // the server does not know the script: send it whole
	NoGroup                   // the key or the consumer group does not exist
	Other                     // any other answer
)

// Classify returns the class of an error.
func Classify(err error) Class {
	var server *ServerError
	switch {
	case err == nil:
		return None
	case errors.As(err, &server):
		return server.class()
	case errors.As(err, new(*ProtocolError)):
		return Malformed
	case errors.As(err, new(*secretError)):
		return NoAuth
	case errors.As(err, new(*connError)):
		return Away
	}
	return Elsewhere
}

func (e *ServerError) class() Class {
	switch e.Code {
	case "LOADING", "TRYAGAIN", "UNBLOCKED":
		return Loading
	case "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN":
		return ReadOnly
	case "OOM":
		return OutOfMemory
	case "MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT":
		return Moved
	case "NOAUTH", "WRONGPASS", "DENIED":
		return NoAuth
	case "NOPERM":
		return NoPermission
	case "WRONGTYPE":
		return WrongType
	case "BUSY":
		return Busy
	case "NOSCRIPT":
		return NoScript
	case "NOGROUP":
		return NoGroup
	}
	return e.unnamed()
}

// unnamed is the class of errors that have no code of their own.
func (e *ServerError) unnamed() Class {
	has := func(s string) bool { return strings.Contains(e.Text, s) }
	switch {
	case has("max number of clients"):
		return Busy
	case has("invalid password"), has("without any password"), has("AUTH"):
		return NoAuth
	case has("-OOM"), has("OOM command not allowed"): // from inside of a script
		return OutOfMemory
	case has("READONLY"):
		return ReadOnly
	case has("no permissions"), has("can't run this command"):
		return NoPermission
	case has("WRONGTYPE"):
		return WrongType
	}
	return Other
}

// Remedy says what an operator can do about errors of the class; "" if nothing helps but
// time.
func (c Class) Remedy() string {
	switch c {
	case Away:
		return "start the server, or correct url"
	case Malformed:
		return "correct url: it must name a Redis or Valkey server, and tls only if the server has it"
	case ReadOnly:
		return "let url name the master, or give sentinel_master; " +
			"if the server cannot save its data, give it space or correct its settings"
	case OutOfMemory:
		return "raise maxmemory of the server, remove keys, or set max_len"
	case Moved:
		return "a Cluster needs cluster = true, and its nodes in url; with that, wait until it has moved the key's slot"
	case NoAuth:
		return "correct user and password_file"
	case NoPermission:
		return "allow this user the command and the key or channel, with ACL SETUSER"
	case WrongType:
		return "the key is in use for something else: choose another key"
	case Busy:
		return "see SCRIPT KILL, and maxclients of the server"
	case NoGroup:
		return "create the group: XGROUP CREATE KEY GROUP 0 MKSTREAM"
	}
	return ""
}

// Explain is the text of an error with its remedy.
func Explain(err error) string {
	if err == nil {
		return ""
	}
	if r := Classify(err).Remedy(); r != "" && !errors.Is(err, context.Canceled) {
		return err.Error() + ": " + r
	}
	return err.Error()
}
