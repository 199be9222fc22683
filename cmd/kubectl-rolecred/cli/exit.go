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
	// ExitOK means success, or that the answer is yes.
	ExitOK = 0
	// ExitError means an error without a code of its own.
	ExitError = 1
	// ExitNo means that the answer is no: the credential is not Ready, not allowed or expired, or AWS rejected it.
	ExitNo = 2
	// ExitNotFound means that the credential, identity or Secret does not exist.
	ExitNotFound = 3
	// ExitForbidden means that the API server did not authenticate or authorize the user.
	ExitForbidden = 4
	// ExitTimeout means that a wait timed out.
	ExitTimeout = 5
	// ExitNotExecutable and ExitNoCommand are the codes of shells. Only exec uses them.
	ExitNotExecutable = 126
	ExitNoCommand     = 127
	// ExitInterrupted means Ctrl-C or SIGTERM.
	ExitInterrupted = 130
)

// errNo sets the exit code of a command that has already printed the answer no.
var errNo = errors.New("no")

// answer returns the error of writing a report, or else errNo if the report's answer is no.
func answer(yes bool, err error) error {
	if err == nil && !yes {
		return errNo
	}
	return err
}

// errTimeout is the error of a wait that timed out.
var errTimeout = errors.New("timed out")

// exitError is an error with an exit code.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

// exit writes an error and returns its exit code.
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
	case errors.Is(err, cluster.ErrUnusable), errors.Is(err, aws.ErrRejected):
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
