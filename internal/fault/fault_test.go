package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/robco-forge/forge/internal/fault"
)

var errSample = fault.New(fault.Conflict, "SAMPLE_TAKEN", "taken", fault.Suggest("pick another"))

func TestACopyWithDetailsIsStillTheDeclaredFault(t *testing.T) {
	cause := errors.New("unique violation")
	err := fmt.Errorf("insert: %w", errSample.Detail("name", "a").Sayf("%q is taken", "a").Because(cause))
	if !errors.Is(err, errSample) {
		t.Fatal("errors.Is does not find the declared fault")
	}
	if !errors.Is(err, cause) {
		t.Fatal("the cause is lost")
	}
	if errSample.Details != nil || errSample.Message != "taken" {
		t.Fatalf("the declared fault was changed: %+v", errSample)
	}
	f := fault.From(err)
	if f.Kind.Status() != 409 || f.Details["name"] != "a" || f.Suggestion != "pick another" {
		t.Fatalf("got %+v", f)
	}
}

func TestAnUndeclaredErrorShowsNothingOfItsText(t *testing.T) {
	f := fault.From(errors.New("password=hunter2"))
	if f.Kind != fault.Internal || strings.Contains(f.Message, "hunter2") {
		t.Fatalf("got %+v", f)
	}
	if errors.Is(f, errSample) {
		t.Fatal("an internal fault is not the sample")
	}
}

func TestDeclaringACodeTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	fault.New(fault.Invalid, "SAMPLE_TAKEN", "again")
}
