package workspace

import "context"

type sweepKey struct{}

// AsSweep marks what is asked of the provider as something that nobody waits for.
func AsSweep(ctx context.Context) context.Context { return context.WithValue(ctx, sweepKey{}, true) }

// IsSweep tells whether nobody waits for the answer.
func IsSweep(ctx context.Context) bool {
	sweep, _ := ctx.Value(sweepKey{}).(bool)
	return sweep
}
