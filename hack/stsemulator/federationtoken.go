package stsemulator

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

const actionGetFederationToken = "sts:GetFederationToken"

var getFederationTokenBounds = slices.Concat([]bound{
	{name: "Name", required: true, min: 2, max: 32, pattern: namePattern},
	tagBounds,
	durationBound(129600),
}, policyBounds)

// getFederationToken issues a session of a federated user. No role can trust it, and it cannot assume a role.
func (s *Server) getFederationToken(req request) (any, error) {
	name, account := req.form.Get("Name"), s.iam.account(req.caller.Account)
	session := Session{CallerARN: req.caller.ARN}
	if err := session.setPolicies(req.form); err != nil {
		return nil, err
	}
	if err := session.setTags(req.form, nil); err != nil {
		return nil, err
	}
	holder := principal{
		ARN: arn.ARN{
			Partition: account.partition(), Service: "sts", AccountID: account.ID, Resource: "federated-user/" + name,
		}.String(),
		UserID: account.ID + ":" + name, Account: account.ID,
	}
	if !slices.ContainsFunc(req.caller.mayFederate, func(pattern string) bool { return glob(pattern, name) }) {
		return nil, notAuthorized(req.caller, actionGetFederationToken, holder.ARN)
	}
	if err := checkRegion(account, req.region); err != nil {
		return nil, err
	}
	if err := session.pack(); err != nil {
		return nil, err
	}
	return federationTokenResult{
		Credentials:      s.issue(req, session, holder, durationOf(req.form, userDuration)),
		FederatedUser:    federatedUser{ID: holder.UserID, ARN: holder.ARN},
		PackedPolicySize: session.PackedPolicySize,
	}, nil
}

type federationTokenResult struct {
	Credentials      credentials   `xml:"Credentials"`
	FederatedUser    federatedUser `xml:"FederatedUser"`
	PackedPolicySize int           `xml:"PackedPolicySize,omitempty"`
}

type federatedUser struct {
	ID  string `xml:"FederatedUserId"`
	ARN string `xml:"Arn"`
}
