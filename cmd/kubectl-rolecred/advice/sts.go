package advice

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"rolecredential.dev/operator/api/v1alpha1"
)

// elsewhere is true if the identity's server is another than AWS's own.
func (s Situation) elsewhere() bool { return s.Identity != nil && s.Identity.Endpoint != "" }

func regionDisabled(s Situation) answer {
	region := "of the identity"
	if s.Identity != nil {
		region = s.Identity.Region
	}
	return answer{
		means: fmt.Sprintf("STS is not active in the region %s for the caller's account.", region),
		here:  []Step{{Do: "Choose a region for the identity in which it is active.", Copy: s.editIdentity()}},
		aws: []Step{{Do: "Or activate the region: of those that are off until an account opts in, by opting in; of the others in IAM's account settings, under Security Token Service.",
			Copy: lines(aws("account", "get-region-opt-status", "--region-name", region), aws("account", "enable-region", "--region-name", region))}},
	}
}

func clockSkew(s Situation) answer {
	if s.Identity != nil && meta.IsStatusConditionTrue(s.Identity.Conditions, v1alpha1.ConditionClockInSync) {
		return answer{
			means: "STS rejected the time of the request, although the Date of its answers agrees with the operator's clock.",
			here:  []Step{{Do: "Check the clocks of all servers behind the identity's endpoint, and that no proxy delays requests or changes the Date.", Copy: s.editIdentity()}},
		}
	}
	return answer{
		means: "The operator's clock and that of STS are further apart than STS bears, 5 to 15 minutes, or than the minute after which it is told.",
		here: []Step{{Do: "Set the clock of the node that the operator runs on, and have it synchronized (chrony, systemd-timesyncd).",
			Copy: operatorRuns + " -o wide\nkubectl debug node/NODE -it --image=busybox -- date -u"}},
	}
}

func throttled(Situation) answer {
	return answer{
		means: "STS answers that it is asked too often. It is asked again, more slowly: there is nothing to do unless it lasts.",
		here:  []Step{{Do: "If it lasts, ask for longer durations, or have fewer credentials by one identity. The metric rolecredential_sts_calls_total counts the calls."}},
		aws:   []Step{{Do: "See in CloudTrail who else asks STS in that account and region."}},
	}
}

func stsUnreachable(s Situation) answer {
	where := "the region's STS"
	if s.Identity != nil {
		where = "https://sts." + s.Identity.Region + ".amazonaws.com"
		if s.Identity.Endpoint != "" {
			where = s.Identity.Endpoint
		}
	}
	return answer{
		means: fmt.Sprintf("%s did not answer the operator.", where),
		here: []Step{
			s.events(),
			{Do: "Check the identity's region and endpoint; if the event speaks of a certificate, that caBundle holds the authority which issued it.", Copy: s.editIdentity()},
			{Do: "See that the operator's namespace can reach it: DNS, NetworkPolicies, proxies (HTTPS_PROXY of the manager).",
				Copy: kubectl("run", "reach", "-n", "rolecredential-system", "--rm", "-it", "--restart=Never", "--image=curlimages/curl", "--", "-sv", "-m", "10", where)},
		},
		aws: []Step{{Do: "If the endpoint is a VPC endpoint, see that its security group admits the nodes, and that its policy allows the call.", Copy: "aws ec2 describe-vpc-endpoints --filters Name=service-name,Values='*.sts'"}},
	}
}

func stsError(s Situation) answer {
	a := answer{
		means: "The server returned an error of its own, or an answer that is not of STS. The operator retries: there is nothing to do unless it lasts, or the message says what.",
		here:  []Step{s.events()},
	}
	if s.elsewhere() {
		a.here = append(a.here, Step{Do: "If the message names a redirect or an HTTP status without an answer of STS, correct the identity's endpoint: its scheme, host, port and path.", Copy: s.editIdentity()})
		return a
	}
	a.aws = []Step{{Do: "If it lasts, see whether AWS reports trouble with STS in the region."}}
	return a
}
