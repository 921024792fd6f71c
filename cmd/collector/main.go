// Command fanin-collector gathers lines from agents and other senders into one
// rotated file.
package main

import (
	"fmt"
	"os"

	"fanin/internal/daemon"
)

func main() {
	err := newCommand().Execute()
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(daemon.Code(err))
}
