// Package syslog understands messages of syslog: which host and program they are from, when
// they were made, and what they say. It reads RFC 3164 as devices and programs really send it,
// and RFC 5424. What it does not understand stays text: no byte of a message's text, of its tag
// and of its structured data is lost, but for the elements timeQuality, origin and meta.
//
//	Scanner.Scan -- parse -> message    the fields, as slices of the message
//	             |  place               labels, attributes, and the line's text
//	             '- Gaps.see            numbers that senders count their messages with
//
// docs/clients.md has a table of all fields and of where each goes.
package syslog
