//go:build prove

package audit_test

import "testing"

// TestProveRetention is the whole evidence for retention: eighty-five months, and the locks of a bucket.
func TestProveRetention(t *testing.T) {
	t.Run("eighty-five months", func(t *testing.T) { retention(t, 85) })
	t.Run("lock 3: a bucket with object lock", TestABucketKeepsWhatIsArchived)
	t.Run("locks that do not hold", TestALockThatDoesNotHoldIsFound)
}
