// Command fanin-agent follows files and sends their lines to a collector.
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
