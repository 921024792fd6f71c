// Command docker does of "docker run" what concerns logging: with Docker's own drivers, and
// without Docker. The image is ignored: the command runs on this machine.
//
//	docker run [--name NAME] [--log-driver gelf|syslog] [--log-opt KEY=VALUE]... IMAGE COMMAND...
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/docker/docker/daemon/logger"
	_ "github.com/docker/docker/daemon/logger/gelf"   // registers itself
	_ "github.com/docker/docker/daemon/logger/syslog" // likewise
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "run" {
		fmt.Fprintln(os.Stderr, "usage: docker run [--name NAME] [--log-driver DRIVER] [--log-opt KEY=VALUE]... IMAGE COMMAND...")
		os.Exit(2)
	}
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("docker run", flag.ExitOnError)
	driver, name := flags.String("log-driver", "gelf", ""), flags.String("name", "web", "")
	options := make(map[string]string)
	flags.Func("log-opt", "", func(text string) error {
		key, value, ok := strings.Cut(text, "=")
		if options[key] = value; !ok {
			return errors.New("want KEY=VALUE")
		}
		return nil
	})
	flags.Parse(args)
	image, command := flags.Arg(0), flags.Args()[min(flags.NArg(), 1):]
	if len(command) == 0 {
		return errors.New("want an image and a command")
	}
	if err := logger.ValidateLogOpts(*driver, options); err != nil {
		return err
	}
	create, err := logger.GetLogDriver(*driver)
	if err != nil {
		return err
	}
	l, err := create(logger.Info{
		Config: options, ContainerID: "4c01db0b339c8d2b0a6e6d6d4f0d4c1b9e0f4a1e6f0a7c8b9d0e1f2a3b4c5d6e",
		ContainerName: "/" + *name, ContainerEntrypoint: command[0], ContainerArgs: command[1:],
		ContainerImageID: "sha256:0a6e6d6d4f0d", ContainerImageName: image, DaemonName: "docker",
		ContainerCreated: time.Now().UTC(),
	})
	if err != nil {
		return err
	}
	return errors.Join(logged(exec.Command(command[0], command[1:]...), l), l.Close())
}

// logged runs a command, and logs its output as Docker does that of a container.
func logged(c *exec.Cmd, l logger.Logger) error {
	stdout, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	copier := logger.NewCopier(map[string]io.Reader{"stdout": stdout, "stderr": stderr}, l)
	copier.Run()
	copier.Wait()
	return c.Wait()
}
