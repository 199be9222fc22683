package identity

import "rolecredential.dev/operator/controllers/backoff"

// VerifyInterval is verifyInterval, for tests.
const VerifyInterval = verifyInterval

// ForgetBackoff forgets all calls, as a restart does.
func (r *Reconciler[T]) ForgetBackoff() { r.backoff = backoff.Calls{} }
