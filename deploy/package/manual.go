package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// manual makes the pages of a program and of each of its commands, by file name.
func manual(root *cobra.Command, version string, made time.Time) (map[string][]byte, error) {
	root.DisableAutoGenTag = true
	root.InitDefaultHelpCmd()
	pages := make(map[string][]byte)
	var page func(c *cobra.Command) error
	page = func(c *cobra.Command) error {
		plain(c)
		var b bytes.Buffer
		header := doc.GenManHeader{Section: "1", Date: &made, Source: "fanin " + version, Manual: "fanin"}
		if err := doc.GenMan(c, &header, &b); err != nil {
			return fmt.Errorf("the page of %s: %w", c.CommandPath(), err)
		}
		pages[strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"] = tidied(b.Bytes(), made)
		for _, child := range c.Commands() {
			if child.IsAvailableCommand() && child.Name() != "help" {
				if err := page(child); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return pages, page(root)
}

// plain makes Markdown, which the generator reads, of the texts of a command.
func plain(c *cobra.Command) {
	long := c.Long
	if long == "" {
		long = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	c.Long, c.Short = markdown(long), escaped(c.Short)
	c.InitDefaultHelpFlag()
	if !c.HasParent() {
		c.InitDefaultVersionFlag()
	}
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		if !slices.Contains([]string{"", "0", "0s", "[]", "false"}, f.DefValue) && !strings.Contains(usage, "default") {
			usage += " (default " + f.DefValue + ")"
		}
		f.Usage, f.Value, f.DefValue = escaped(usage), word{}, strings.ToUpper(name)
		if f.NoOptDefVal != "" {
			f.DefValue = ""
		}
	})
}

// word is the value of a flag in the manual: its name.
type word struct{}

func (word) String() string   { return "" }
func (word) Set(string) error { return nil }
func (word) Type() string     { return "word" }

// markdown shows lines that are indented as they are, and everything else as text.
func markdown(text string) string {
	var b strings.Builder
	code := false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, "  ")
		if indented != code {
			b.WriteString("\n")
		}
		if code = indented; code {
			b.WriteString("    " + line)
		} else {
			b.WriteString(escaped(line))
		}
	}
	return b.String()
}

// escaped takes the meaning from the characters that have one in Markdown.
func escaped(text string) string {
	return strings.NewReplacer("\\", "\\\\", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "\\<", ">", "\\>",
		"`", "\\`").Replace(text)
}

// option matches an option as the generator writes it: its text begins with a tab.
var option = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*)\n\t`)

// tidied corrects what the readers of manuals do not like in a page of the generator: options become
// a list, nothing stands for the value of an option that has none, and the date has a day.
func tidied(page []byte, made time.Time) []byte {
	page = bytes.ReplaceAll(option.ReplaceAll(page, []byte(".TP\n$1\n")), []byte("[=]\n"), []byte("\n"))
	return bytes.Replace(page, []byte(made.Format(`"Jan 2006"`)), []byte(made.Format(`"2006-01-02"`)), 1)
}
