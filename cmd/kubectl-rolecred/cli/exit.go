package cli

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/aws"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

// Exit codes, for scripts.
const (
	// ExitOK: done, or the answer is yes.
	ExitOK = 0
	// ExitError: something went wrong that has no code of its own.
	ExitError = 1
	// ExitNo: the answer is no. The credential is not Ready, the request not allowed, the credential expired or refused.
	ExitNo = 2
	// ExitNotFound: there is no such credential, identity or Secret.
	ExitNotFound = 3
	// ExitForbidden: the API server forbids it to the caller.
	ExitForbidden = 4
	// ExitTimeout: what was waited for did not come in time.
	ExitTimeout = 5
	// ExitNotExecutable and ExitNoCommand are of exec, as shells have them.
	ExitNotExecutable = 126
	ExitNoCommand     = 127
	// ExitInterrupted: by Ctrl-C, or SIGTERM.
	ExitInterrupted = 130
)

// errNo is the error of a verb whose answer is no, and written already.
var errNo = errors.New("no")

// errTimeout is the error of what was waited for in vain.
var errTimeout = errors.New("timed out")

// exitError is an error with a code of its own.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

// exit writes an error and returns the code for it.
func (p *plugin) exit(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errNo):
		return ExitNo
	case ctx.Err() != nil:
		return ExitInterrupted
	}
	printer := term.New(p.ErrOut, term.Colours(p.ErrOut, p.getenv))
	printer.Texts(term.Text{Text: "error: ", Colour: term.Bad}, term.Plain(err.Error()))
	return codeOf(err)
}

func codeOf(err error) int {
	coded, ok := errors.AsType[exitError](err)
	switch {
	case ok:
		return coded.code
	case errors.Is(err, cluster.ErrUnusable), errors.Is(err, aws.ErrRefused):
		return ExitNo
	case apierrors.IsNotFound(err):
		return ExitNotFound
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return ExitForbidden
	case errors.Is(err, errTimeout), apierrors.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	default:
		return ExitError
	}
}
