package audit_test

import (
	"errors"
	"testing"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
)

// Where many wait for a connection, a refusal does not wait among them for its record.
func TestARefusalTakesNoSecondConnection(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	refuse := func() error { return r.log.Change(ctx, intent, func(*audit.Tx) error { return errFull }) }
	if err := refuse(); !errors.Is(err, errFull) { // it makes the key of somebody's personal data
		t.Fatal(err)
	}
	before := r.log.Pool().Stat().AcquireCount()
	if err := refuse(); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	if n := r.log.Pool().Stat().AcquireCount() - before; n != 1 || len(r.rows(t)) != 2 {
		t.Errorf("%d connections were taken, and %d refusals are recorded", n, len(r.rows(t)))
	}
}

// A verdict that is not in the record is none.
func TestARefusalThatCannotBeRecordedIsNotGiven(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	r.log.Pool().Close()
	if err := r.log.NoteRefusal(ctx, intent, errFull); err == nil || errors.Is(err, errFull) {
		t.Errorf("it is given: %v", err)
	}
}
