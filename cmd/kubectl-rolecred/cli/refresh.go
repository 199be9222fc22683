package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

// pollEvery is the interval of reads while waiting for a refresh. The plugin does not watch, because a user who may get a credential
// may lack the permission to watch.
const pollEvery = 500 * time.Millisecond

func (p *plugin) refreshCommand() *cobra.Command {
	var doWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "refresh NAME",
		Short: "Refresh a credential now",
		Long: `Request an immediate refresh. The previous session credentials stay valid until they expire. With --wait, exit after the refresh (0),
when the refresh fails (2), or after --timeout (5).`,
		Example:           "  kubectl rolecred refresh s3-reader -n shop --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, found, err := p.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.refresh(cmd.Context(), c, found, doWait, timeout)
		},
	}
	cmd.Flags().BoolVar(&doWait, "wait", false, "wait for the refresh")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "maximum `time` to wait")
	return cmd
}

func (p *plugin) refresh(ctx context.Context, c *cluster.Cluster, found cluster.Credential, doWait bool, timeout time.Duration) error {
	if found.Common().Suspend {
		return exitError{fmt.Errorf("%s cannot be refreshed: spec.suspend is set", found), ExitNo}
	}
	request := p.now().UTC().Format(time.RFC3339Nano)
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RefreshAnnotation, request)
	before := found.Report().DeepCopy()
	if err := c.Client.Patch(ctx, found.Object, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	if !doWait {
		p.printer().Linef("%s refresh requested", found)
		return nil
	}
	now, err := p.await(ctx, c, found, *before, request, timeout)
	if err != nil {
		return err
	}
	report := now.Report()
	p.printer().Linef("%s refreshed: %s, expires %s (%s)", now, report.AccessKeyID, term.Time(report.Expiration.Time), term.Relative(report.Expiration.Time, p.now()))
	return nil
}

// await waits until the operator has handled the request, or a condition says why it cannot.
func (p *plugin) await(ctx context.Context, c *cluster.Cluster, found cluster.Credential, before v1alpha1.CredentialStatus, request string, timeout time.Duration) (cluster.Credential, error) {
	ref := cluster.Ref{Kind: found.Kind, Name: found.GetName()}
	err := wait.PollUntilContextTimeout(ctx, pollEvery, timeout, true, func(context.Context) (bool, error) {
		now, err := c.Credential(ctx, ref) // without the deadline, because client-go's rate limiter has an error of its own for it
		if err != nil {
			return false, err
		}
		found = now
		if now.Report().LastHandledRefreshRequest == request && now.Report().Expiration != nil {
			return true, nil
		}
		if failed := newlyFalse(before.Conditions, now.Report().Conditions); failed != nil {
			return false, refreshFailed(now, *failed)
		}
		return false, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		if failed := newlyFalse(nil, found.Report().Conditions); failed != nil {
			return found, refreshFailed(found, *failed)
		}
		return found, fmt.Errorf("%s was not refreshed within %s: check that the operator runs: %w", found, timeout, errTimeout)
	}
	return found, err
}

// refreshFailed is the error for a condition that stopped the refresh.
func refreshFailed(c cluster.Credential, condition metav1.Condition) error {
	return exitError{fmt.Errorf("%s was not refreshed: %s is %s, %s: %s", c, condition.Type, condition.Status, condition.Reason, condition.Message), ExitNo}
}

// newlyFalse returns the first condition that is False and was not False with the same reason before.
func newlyFalse(before, now []metav1.Condition) *metav1.Condition {
	was := map[string]string{}
	for _, c := range before {
		if c.Status == metav1.ConditionFalse {
			was[c.Type] = c.Reason
		}
	}
	for i, c := range now {
		if c.Status == metav1.ConditionFalse && was[c.Type] != c.Reason {
			return &now[i]
		}
	}
	return nil
}
