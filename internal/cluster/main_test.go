package cluster

import (
	"testing"

	"fanin/internal/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }
