// Command fanin-collector gathers lines from agents and other senders into one
// rotated file.
package main

import (
	"io"
	"os"

	"fanin/internal/daemon"
	"fanin/internal/escape"
)

func main() {
	err := newCommand().Execute()
	if err != nil && err.Error() != "" {
		printError(os.Stderr, err)
	}
	os.Exit(daemon.Code(err))
}

// printError prints an error, which may have several lines and quote others.
func printError(w io.Writer, err error) { io.WriteString(w, escape.Lines(err.Error())+"\n") }
