package agent

import (
	"reflect"
	"testing"

	"fanin/internal/config/configtest"
)

func mustLoad(t *testing.T, path string) *settings {
	t.Helper()
	s, err := (&options{config: path}).load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExampleLoads(t *testing.T) {
	mustLoad(t, configtest.Example)
	mustLoad(t, configtest.Uncomment(t, true))
}

// What the example calls a default is one: with and without it, all is the same.
func TestExampleDefaults(t *testing.T) {
	without, with := mustLoad(t, configtest.Example), mustLoad(t, configtest.Uncomment(t, false))
	if a, b := without.files(), with.files(); !reflect.DeepEqual(a, b) {
		t.Errorf("the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", a, b)
	}
	if a, b := new(journalTable).settings(), with.Agent.Journal.settings(); !reflect.DeepEqual(a, b) {
		t.Errorf("the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", a, b)
	}
	socket := with.Agent.Unix[0]
	if a, b := (&unixTable{Path: socket.Path, Source: socket.Source}).settings(), socket.settings(); !reflect.DeepEqual(a, b) {
		t.Errorf("the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", a, b)
	}
	with.Agent.Journal, with.Agent.Unix = nil, nil
	without.Agent.File, with.Agent.File = nil, nil
	if a, b := without.Agent, with.Agent; !reflect.DeepEqual(a, b) {
		t.Errorf("the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", a, b)
	}
}

// A key that the program knows and the example lacks is a key that no reader finds.
func TestExampleHasEveryKey(t *testing.T) {
	configtest.HasEveryKey(t, "agent", new(agentTable))
}
