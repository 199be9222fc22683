package stsemulator

import (
	"fmt"
	"math"

	"k8s.io/utils/clock"
)

// Flavour is the server to emulate.
type Flavour string

// The flavours.
const (
	FlavourAWS Flavour = "aws"
	// FlavourMinIO has no GetCallerIdentity and no role chaining, returns an empty AssumedRoleUser, issues access keys without a known
	// prefix, and rejects a signature with an error in S3's format.
	FlavourMinIO Flavour = "minio"
)

// Options configure the emulator.
type Options struct {
	// Clock is the clock of sessions and calls; the real one if nil.
	Clock clock.PassiveClock
	// SignatureClock is the clock of signatures and of Date headers; Clock if nil. A test that moves a fake Clock by hours sets it to the
	// real one, because the SDK signs with the real time.
	SignatureClock clock.PassiveClock
	// TokenClock is the clock of web identity tokens; Clock if nil. A test with a fake Clock and a real issuer sets it to the real one.
	TokenClock clock.PassiveClock
	// LifetimeFraction is the lifetime of sessions as a fraction of the requested duration, more than 0 and at most 1; 1 if zero. The
	// bounds of a request are AWS's.
	LifetimeFraction float64
	// SessionTokenSize is in characters, 16 to 2048; 1024 if zero. This keeps a response below 4 KiB, the read size of an HTTP client. Of a
	// larger response over loopback, the SDK may lose the rest, because it closes the request's body when it has the headers.
	SessionTokenSize int
	// Region is the only accepted region of signatures, which AWS need not have. If empty, all regions of AWS's form are accepted.
	Region string
	// Flavour is FlavourAWS if empty.
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
