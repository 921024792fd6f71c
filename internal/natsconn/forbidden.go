package natsconn

import (
	"fmt"
	"regexp"
)

// ForbiddenError is a permission that the server denies this user.
type ForbiddenError struct {
	Subject string
	Publish bool // to publish to the subject; otherwise to subscribe to it
}

// Error names the operation, the subject, and the document that lists what is needed.
func (f *ForbiddenError) Error() string {
	operation := "subscribe to"
	if f.Publish {
		operation = "publish to"
	}
	return fmt.Sprintf("the NATS server forbids this user to %s %s: docs/nats.md lists the permissions that are needed",
		operation, f.Subject)
}

var violation = regexp.MustCompile(`Permissions Violation for (Publish|Subscription) to "([^"]*)"`)

// AsForbidden reads a server's error about a missing permission, for which the library
// has no type; nil: it is another error.
func AsForbidden(err error) *ForbiddenError {
	m := violation.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	return &ForbiddenError{Subject: m[2], Publish: m[1] == "Publish"}
}
