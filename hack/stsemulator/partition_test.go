package stsemulator_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	homeUser    = "arn:aws-us-gov:iam::111111111111:user/operator"
	homeRole    = "arn:aws-us-gov:iam::111111111111:role/Reader"
	foreignRole = "arn:aws:iam::222222222222:role/Reader"
)

// twoPartitions is a configuration in which all users may assume all roles, which trust all callers.
func twoPartitions(t *testing.T) (e emulator, home aws.Credentials) {
	t.Helper()
	account := func(id, partition string) stsemulator.Account {
		return stsemulator.Account{
			ID: id, Partition: partition,
			Users: []stsemulator.User{{Name: "operator", AccessKeys: []stsemulator.AccessKey{{}}, MayAssume: []string{"*"}, MayFederate: []string{"*"}}},
			Roles: []stsemulator.Role{{Name: "Reader", MayAssume: []string{"*"}, Trust: []stsemulator.Trust{{Principal: "*"}}}},
		}
	}
	e = serveConfig(t, stsemulator.Config{Accounts: []stsemulator.Account{account("111111111111", "aws-us-gov"), account("222222222222", "")}}, stsemulator.Options{})
	key := e.AccessKeys(homeUser)[0]
	return e, aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
}

func TestIssuedARNsHaveTheCallersPartition(t *testing.T) {
	g := NewWithT(t)
	e, user := twoPartitions(t)
	assumed, out := e.assume(t, user, input(homeRole))
	const session = "arn:aws-us-gov:sts::111111111111:assumed-role/Reader/shop.s3-reader"
	g.Expect(*out.AssumedRoleUser.Arn).To(Equal(session))
	federated, err := e.client(user).GetFederationToken(t.Context(), &sts.GetFederationTokenInput{
		Name: aws.String("shop.s3-reader"), PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws-us-gov:iam::aws:policy/ReadOnlyAccess")}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	const federatedUser = "arn:aws-us-gov:sts::111111111111:federated-user/shop.s3-reader"
	g.Expect(*federated.FederatedUser.Arn).To(Equal(federatedUser))
	own, err := e.client(user).GetSessionToken(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())

	for want, keys := range map[string]aws.Credentials{
		session: assumed, federatedUser: sessionCredentials(federated.Credentials), homeUser: sessionCredentials(own.Credentials),
	} {
		me, err := e.client(keys).GetCallerIdentity(t.Context(), nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(*me.Arn).To(Equal(want))
	}
}

// AWS returned these messages to callers in GovCloud and in the European Sovereign Cloud.
func TestRolesOfOtherPartitionsAreDenied(t *testing.T) {
	e, user := twoPartitions(t)
	session, _ := e.assume(t, user, input(homeRole))
	for name, tc := range map[string]struct {
		keys   aws.Credentials
		caller string
	}{
		"by a user":           {user, homeUser},
		"by a role's session": {session, "arn:aws-us-gov:sts::111111111111:assumed-role/Reader/shop.s3-reader"},
	} {
		for name, role := range map[string]string{
			name + ", though it trusts everybody": foreignRole,
			name + ", nor one that is not there":  strings.Replace(homeRole, "aws-us-gov", "aws", 1),
		} {
			t.Run(name, func(t *testing.T) {
				_, err := e.client(tc.keys).AssumeRole(t.Context(), input(role))
				NewWithT(t).Expect(failureOf(t, err)).To(Equal(failure{
					Status: 403, Code: "AccessDenied", Message: "User: " + tc.caller + " is not authorized to perform: sts:AssumeRole on resource: " + role,
				}))
			})
		}
	}
}
