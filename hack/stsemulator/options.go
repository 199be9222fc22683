package stsemulator

import (
	"fmt"
	"math"

	"k8s.io/utils/clock"
)

// Flavour is whose server the emulator takes after.
type Flavour string

// The flavours.
const (
	FlavourAWS Flavour = "aws"
	// FlavourMinIO has no GetCallerIdentity and no role chaining, leaves
	// AssumedRoleUser empty, issues access keys without a known prefix, and
	// refuses a signature with an error body in the style of S3.
	FlavourMinIO Flavour = "minio"
)

// Options are how the emulator behaves.
type Options struct {
	// Clock is the time of sessions and calls; the real one when nil.
	Clock clock.PassiveClock
	// SignatureClock is the time that signatures are compared with and that Date
	// headers tell; Clock when nil. A test that moves a fake Clock by hours sets
	// it to the real one, because the SDK signs in real time.
	SignatureClock clock.PassiveClock
	// TokenClock is the time that web identity tokens are compared with; Clock
	// when nil. A test with a fake Clock and a real issuer sets it to the real one.
	TokenClock clock.PassiveClock
	// LifetimeFraction makes sessions last that part of what was asked, more
	// than 0 and at most 1; 1 when zero. The bounds remain those of AWS.
	LifetimeFraction float64
	// SessionTokenSize is in characters, 16 to 2048; 1024 when zero. An answer
	// remains smaller than the 4 KiB that an HTTP client reads at once: of a
	// larger one that comes as fast as over loopback, the SDK may cut the rest
	// off, because it closes its request's body as soon as it has the headers.
	SessionTokenSize int
	// Region is the only one that signatures may be scoped to, also one that AWS does not have. When empty, signatures may be scoped
	// to any that looks like AWS's.
	Region string
	// Flavour is FlavourAWS when empty.
	Flavour Flavour
}

func (o *Options) complete() error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.SignatureClock == nil {
		o.SignatureClock = o.Clock
	}
	if o.TokenClock == nil {
		o.TokenClock = o.Clock
	}
	if o.LifetimeFraction == 0 {
		o.LifetimeFraction = 1
	}
	if o.SessionTokenSize == 0 {
		o.SessionTokenSize = 1024
	}
	if o.Flavour == "" {
		o.Flavour = FlavourAWS
	}
	switch {
	case o.LifetimeFraction < 0, o.LifetimeFraction > 1, math.IsNaN(o.LifetimeFraction):
		return fmt.Errorf("lifetime fraction must be more than 0 and at most 1")
	case o.SessionTokenSize < 16 || o.SessionTokenSize > 2048:
		return fmt.Errorf("session token size must be 16 to 2048 characters")
	case o.Region != "" && !scopes.MatchString(o.Region):
		return fmt.Errorf("region %q cannot be in a signature's scope", o.Region)
	case o.Flavour != FlavourAWS && o.Flavour != FlavourMinIO:
		return fmt.Errorf("no flavour %q", o.Flavour)
	}
	return nil
}
