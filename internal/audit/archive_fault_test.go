package audit_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
)

// breaking is a store whose n-th call fails; before it did its work, or after.
type breaking struct {
	archive.Store
	mu    sync.Mutex
	left  int
	after bool
}

var errBroken = errors.New("the store is away")

func (b *breaking) turn() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left--
	return b.left == 0
}

func (b *breaking) Put(ctx context.Context, name string, body io.ReadSeeker, size int64, until time.Time) (string, error) {
	broken := b.turn()
	if broken && !b.after {
		return "", errBroken
	}
	v, err := b.Store.Put(ctx, name, body, size, until)
	if broken {
		return "", errBroken
	}
	return v, err
}

func (b *breaking) Open(ctx context.Context, name, version string) (io.ReadCloser, error) {
	if b.turn() {
		return nil, errBroken
	}
	return b.Store.Open(ctx, name, version)
}

func (b *breaking) Stat(ctx context.Context, name string) (archive.Object, error) {
	if b.turn() {
		return archive.Object{}, errBroken
	}
	return b.Store.Stat(ctx, name)
}

// A run that the store breaks, at whichever call, leaves nothing that the next one cannot go on from; and no month is
// detached that was not read back.
func TestArchivingGoesOnWhereTheStoreBrokeIt(t *testing.T) {
	e := newEra(t, 2, archive.Dir(t.TempDir()))
	whole := e.store
	failures := 0
	for n := 1; ; n++ {
		b := &breaking{Store: whole, left: n, after: n%2 == 0}
		a := e.archivist(t)
		a.Store = b
		_, err := a.Run(operator, true)
		e.settle(t, a)
		if err == nil {
			break
		}
		if !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		failures++
		if n > 200 {
			t.Fatal("it never ends")
		}
		if r := e.verify(t, nil); !r.OK() {
			t.Fatalf("after the failure of call %d:\n%s", n, r.Text())
		}
	}
	if failures < 5 {
		t.Errorf("only %d calls failed", failures)
	}
	if got := e.states(t); got != "droppable detached" && got != "detached detached" {
		t.Error(got)
	}
	ok(t, e.verify(t, whole))
}

// Whoever writes to other months does not notice that one is detached.
func TestWritersGoOnWhileMonthsAreDetached(t *testing.T) {
	e := newEra(t, 3, archive.Dir(t.TempDir()))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	written := make([]int, 4)
	for i := range written {
		wg.Go(func() {
			ctx := actor.With(context.Background(), someone)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := e.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
					t.Error(err)
					return
				}
				if _, err := audit.Search(ctx, e.Pool, audit.Filter{UserID: "usr_someone", Limit: 1}); err != nil {
					t.Error(err)
					return
				}
				written[i]++
			}
		})
	}
	a := e.archivist(t)
	_, err := a.Run(operator, true)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range written {
		if n == 0 {
			t.Errorf("writer %d wrote nothing", i)
		}
	}
	if err := e.log.Heartbeat(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	e.settle(t, a)
	for range 20 {
		e.sequenceUp(t)
	}
	ok(t, e.verify(t, e.store))
}
