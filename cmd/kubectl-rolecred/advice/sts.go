package advice

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"rolecredential.dev/operator/api/v1alpha1"
)

// customEndpoint reports whether the identity's endpoint is not AWS's default.
func (s Situation) customEndpoint() bool { return s.Identity != nil && s.Identity.Endpoint != "" }

func regionDisabled(s Situation) guidance {
	region := "of the identity"
	if s.Identity != nil {
		region = s.Identity.Region
	}
	return guidance{
		means:   fmt.Sprintf("STS is not enabled in the region %s for the caller's account.", region),
		cluster: []Step{{Do: "Set the identity's region to one where STS is enabled.", Copy: s.editIdentity()}},
		aws: []Step{{Do: "Or enable the region. For an opt-in region, opt in with this command. For any other, use Security Token Service in IAM's account settings.",
			Copy: lines(aws("account", "get-region-opt-status", "--region-name="+region), aws("account", "enable-region", "--region-name="+region))}},
	}
}

func clockSkew(s Situation) guidance {
	if s.Identity != nil && meta.IsStatusConditionTrue(s.Identity.Conditions, v1alpha1.ConditionClockInSync) {
		return guidance{
			means:   "STS rejected the time of the request, although the Date of its responses agrees with the operator's clock.",
			cluster: []Step{{Do: "Check the clocks of all servers behind the identity's endpoint. Check that no proxy delays requests or changes the Date.", Copy: s.editIdentity()}},
		}
	}
	return guidance{
		means: "The operator's clock is off by more than a minute. STS rejects requests when it is off by 5 to 15 minutes.",
		cluster: []Step{{Do: "Set the clock of the node that the operator runs on. Synchronize it with NTP (chrony, systemd-timesyncd).",
			Copy: operatorRuns + " -o wide\nkubectl debug node/NODE -it --image=busybox -- date -u"}},
	}
}

func throttled(Situation) guidance {
	return guidance{
		means:   "STS throttled the requests. The operator retries at a lower rate. Act only if it lasts.",
		cluster: []Step{{Do: "If it lasts, set longer durations, or use fewer credentials for each identity. The metric rolecredential_sts_calls_total counts the calls."}},
		aws:     []Step{{Do: "Find other callers of STS in that account and region in CloudTrail."}},
	}
}

func stsUnreachable(s Situation) guidance {
	where := "the region's STS"
	if s.Identity != nil {
		where = "https://sts." + s.Identity.Region + ".amazonaws.com"
		if s.Identity.Endpoint != "" {
			where = s.Identity.Endpoint
		}
	}
	return guidance{
		means: fmt.Sprintf("The operator got no response from %s.", where),
		cluster: []Step{
			s.events(),
			{Do: "Check the identity's region and endpoint. If the event names a certificate, check that caBundle holds the CA that issued it.", Copy: s.editIdentity()},
			{Do: "Check that pods of the operator's namespace can reach it: DNS, NetworkPolicies, proxies (HTTPS_PROXY of the manager).",
				Copy: kubectl("run", "reach", "-n", "rolecredential-system", "--rm", "-it", "--restart=Never", "--image=curlimages/curl", "--", "-sv", "-m", "10", "--url", where)},
		},
		aws: []Step{{Do: "If the endpoint is a VPC endpoint, check that its security group allows the nodes, and that its policy allows the call.", Copy: "aws ec2 describe-vpc-endpoints --filters Name=service-name,Values='*.sts'"}},
	}
}

func stsError(s Situation) guidance {
	a := guidance{
		means:   "The endpoint returned a server error, or a response that is not from STS. The operator retries. Act if the message says what to do, or if the error lasts.",
		cluster: []Step{s.events()},
	}
	if s.customEndpoint() {
		a.cluster = append(a.cluster, Step{Do: "If the message names a redirect or just an HTTP status, correct the identity's endpoint: its scheme, host, port and path.", Copy: s.editIdentity()})
		return a
	}
	a.aws = []Step{{Do: "If it lasts, check the AWS Health Dashboard for STS in the region."}}
	return a
}
