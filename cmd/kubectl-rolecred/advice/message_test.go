package advice_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/advice"
)

// messages are condition messages. Only the first two do not belong to another reason.
var messages = []string{
	"", "Some other words.",
	"STS denied access: arn:aws:iam::111111111111:user/other (ClusterIdentity default) may not call AssumeRoleWithWebIdentity on " + reader + ".",
	"STS denied AssumeRole on " + hub + ", a hop in the chain of ClusterIdentity default.",
	"STS rejected the token of system:serviceaccount:shop:default.",
	"The request cannot be made. STS was not called.",
}

func TestRewordingMessagesChangesNoAdvice(t *testing.T) {
	for reason, cases := range steps {
		for name, tc := range cases {
			t.Run(reason+" "+name, func(t *testing.T) {
				want := advice.Explain(tc.situation)
				for _, message := range messages {
					s := tc.situation
					s.Condition.Message = message
					got := advice.Explain(s)
					got.Message = want.Message // the explanation repeats the message
					if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(advice.Step{}, "Grant")); diff != "" {
						t.Errorf("the message %q changes the advice (-want +got):\n%s", message, diff)
					}
				}
			})
		}
	}
}
