package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
)

const (
	goodCredential = `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: RoleCredential
metadata: {name: schema, namespace: default}
spec: {roleARN: "arn:aws:iam::123456789012:role/S3Reader"}
`
	goodSession = `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: SessionCredential
metadata: {name: schema, namespace: default}
spec: {identityRef: {name: user}}
`
	goodFederated = `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: FederatedCredential
metadata: {name: schema, namespace: default}
spec: {policy: "{}"}
`
	goodOwnIdentity = `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: Identity
metadata: {name: schema, namespace: default}
spec:
  region: eu-west-1
  source: {serviceAccount: {}}
`
	goodIdentity = `
apiVersion: sts.rolecredential.dev/v1alpha1
kind: ClusterIdentity
metadata: {name: schema}
spec:
  region: eu-west-1
  source: {ambient: {}}
  allow: [{namespaces: [shop], roleARNs: ["*"]}]
`
)

// schemaCase sets a value in a valid manifest. An empty wantErr means that the API server accepts it.
type schemaCase struct {
	path    string // dots and indexes under spec
	value   any
	wantErr string
}

var credentialCases = map[string]schemaCase{
	"a role in a path":                           {"roleARN", "arn:aws:iam::123456789012:role/team/app/S3Reader", ""},
	"a role in China":                            {"roleARN", "arn:aws-cn:iam::123456789012:role/S3Reader", ""},
	"a role of GovCloud":                         {"roleARN", "arn:aws-us-gov:iam::123456789012:role/S3Reader", ""},
	"a role of MinIO":                            {"roleARN", "arn:minio:iam:::role/idmp-external", ""},
	"a role of Ceph":                             {"roleARN", "arn:aws:iam::RGW11111111111111111:role/S3Reader", ""},
	"the longest role":                           {"roleARN", "arn:aws:iam::123456789012:role/" + strings.Repeat("a", 2017), ""},
	"a role that is too long":                    {"roleARN", "arn:aws:iam::123456789012:role/" + strings.Repeat("a", 2018), "may not be more than 2048"},
	"no role":                                    {"roleARN", nil, "spec.roleARN: Required value"},
	"a role of Dell ECS":                         {"roleARN", "urn:ecs:iam::ns1:role/admins", ""},
	"a role of SeaweedFS":                        {"roleARN", "arn:aws:iam::role/ClientRole", ""},
	"a role that is not an ARN":                  {"roleARN", "S3Reader", "roleARN must be the role's full ARN"},
	"a user's ARN":                               {"roleARN", "arn:aws:iam::123456789012:user/alice", ""}, // without an endpoint, a condition reports it
	"an empty role":                              {"roleARN", "", "should be at least 1 chars long"},
	"a role with a space":                        {"roleARN", "arn:aws:iam::123456789012:role/S3 Reader", "roleARN may contain printable ASCII characters other than spaces"},
	"a role with a line break":                   {"roleARN", "arn:aws:iam::123456789012:role/S3Reader\n", "roleARN may contain printable ASCII characters other than spaces"},
	"the shortest duration":                      {"duration", "15m", ""},
	"the longest duration":                       {"duration", "12h", ""},
	"a duration in seconds":                      {"duration", "3600s", ""},
	"a duration of hours, minutes and seconds":   {"duration", "1h30m30s", ""},
	"a duration under 15m":                       {"duration", "14m59s", "duration must be from 15m to 12h"},
	"a duration over 12h":                        {"duration", "12h1s", "duration must be from 15m to 12h"},
	"a duration of half a second":                {"duration", "3600.5s", "duration must be whole hours, minutes and seconds"},
	"a duration without a unit":                  {"duration", "3600", "duration must be whole hours, minutes and seconds"},
	"a duration in days":                         {"duration", "1 day", "duration must be whole hours, minutes and seconds"},
	"a negative duration":                        {"duration", "-1h", "duration must be whole hours, minutes and seconds"},
	"a duration beyond the range of integers":    {"duration", "99999999999999999h", "duration must be whole hours, minutes and seconds"},
	"a duration that is a number":                {"duration", int64(3600), "must be of type string"},
	"the shortest session name":                  {"sessionName", "ab", ""},
	"the longest session name":                   {"sessionName", strings.Repeat("a", 64), ""},
	"a session name with all allowed characters": {"sessionName", "aZ0_+=,.@-", ""},
	"a session name of one character":            {"sessionName", "a", "should be at least 2 chars long"},
	"a session name that is too long":            {"sessionName", strings.Repeat("a", 65), "may not be more than 64"},
	"a session name with a slash":                {"sessionName", "a/b", "sessionName may contain letters"},
	"the longest external id":                    {"externalID", strings.Repeat("a", 1224), ""},
	"an external id with all allowed characters": {"externalID", "aZ0_+=,.@:/-", ""},
	"an external id that is too short":           {"externalID", "a", "should be at least 2 chars long"},
	"an external id that is too long":            {"externalID", strings.Repeat("a", 1225), "may not be more than 1224"},
	"an external id with a space":                {"externalID", "a b", "externalID may contain letters"},
	"the longest source identity":                {"sourceIdentity", strings.Repeat("a", 64), ""},
	"a source identity that is too short":        {"sourceIdentity", "a", "should be at least 2 chars long"},
	"a source identity that is too long":         {"sourceIdentity", strings.Repeat("a", 65), "may not be more than 64"},
	"a source identity of AWS's own":             {"sourceIdentity", "aws:alice", "must not start with aws:"},
	"a source identity with a slash":             {"sourceIdentity", "a/b", "sourceIdentity may contain letters"},
	"a policy over several lines":                {"policy", "\t{\r\n \"Version\": \"2012-10-17\", \"Id\": \"ÿ\"}", ""},
	"the longest policy":                         {"policy", "{" + strings.Repeat(" ", 8190) + "}", ""},
	"a policy that is too long":                  {"policy", "{" + strings.Repeat(" ", 8191) + "}", "may not be more than 8192"},
	"a policy that is not an object":             {"policy", "allow everything", "policy must be an IAM policy document, a JSON object"},
	"a policy with a character that STS refuses": {"policy", "{\"Id\": \"\u20ac\"}", "write others as \\uXXXX"},
	"an empty policy":                            {"policy", "", "should be at least 1 chars long"},
	"a managed policy of AWS":                    {"policyARNs", []any{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, ""},
	"a customer managed policy":                  {"policyARNs", []any{"arn:aws:iam::123456789012:policy/team/Narrow"}, ""},
	"ten managed policies":                       {"policyARNs", policies(10), ""},
	"eleven managed policies":                    {"policyARNs", policies(11), "must have at most 10 items"},
	"no managed policies":                        {"policyARNs", []any{}, "should have at least 1 items"},
	"a managed policy twice":                     {"policyARNs", []any{"arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::aws:policy/ReadOnlyAccess"}, "Duplicate value"},
	"a managed policy of Dell ECS":               {"policyARNs", []any{"urn:ecs:iam:::policy/ECSS3FullAccess"}, ""},
	"a managed policy with a space":              {"policyARNs", []any{"arn:aws:iam::aws:policy/Read Only"}, "each of policyARNs may contain printable ASCII characters other than spaces"},
	"a managed policy by its name":               {"policyARNs", []any{"ReadOnlyAccess"}, "each of policyARNs must be the policy's full ARN"},
	"a managed policy that is empty":             {"policyARNs", []any{""}, "should be at least 1 chars long"},
	"fifty tags":                                 {"tags", tags(50), ""},
	"fifty-one tags":                             {"tags", tags(51), "must have at most 50 items"},
	"no tags":                                    {"tags", []any{}, "should have at least 1 items"},
	"a tag with all allowed characters":          {"tags", []any{tag("Ünit 1_.:/=+-@", "Ä b_.:/=+-@")}, ""},
	"a tag with an empty value":                  {"tags", []any{tag("key", "")}, ""},
	"a tag without a value":                      {"tags", []any{map[string]any{"key": "key"}}, "Required value"},
	"the longest tag":                            {"tags", []any{tag(strings.Repeat("k", 128), strings.Repeat("v", 256))}, ""},
	"a tag with a long key":                      {"tags", []any{tag(strings.Repeat("k", 129), "v")}, "may not be more than 128"},
	"a tag with a long value":                    {"tags", []any{tag("k", strings.Repeat("v", 257))}, "may not be more than 256"},
	"a tag without a key":                        {"tags", []any{tag("", "v")}, "should be at least 1 chars long"},
	"a tag with an invalid key":                  {"tags", []any{tag("a*", "v")}, "a tag's key may contain letters"},
	"a tag with an invalid value":                {"tags", []any{tag("a", "v*")}, "a tag's value may contain letters"},
	"a tag of AWS's own":                         {"tags", []any{tag("AWS:team", "v")}, "a tag's key must not start with aws:"},
	"a tag twice":                                {"tags", []any{tag("team", "a"), tag("team", "b")}, "Duplicate value"},
	"a tag twice in another case":                {"tags", []any{tag("team", "a"), tag("Team", "b")}, "must differ in more than case"},
	"a transitive key without its tag":           {"transitiveTagKeys", []any{"team"}, "each of transitiveTagKeys must be the key of one of tags"},
	"no transitive keys":                         {"transitiveTagKeys", []any{}, "should have at least 1 items"},
	"a transitive key that is empty":             {"transitiveTagKeys", []any{""}, "should be at least 1 chars long"},
	"the shortest refreshBefore":                 {"refreshBefore", "1m", ""},
	"a refreshBefore just under the duration":    {"refreshBefore", "59m59s", ""},
	"a refreshBefore under a minute":             {"refreshBefore", "59s", "refreshBefore must be at least 1m"},
	"a refreshBefore of the whole duration":      {"refreshBefore", "1h", "refreshBefore must be less than duration"},
	"a refreshBefore in words":                   {"refreshBefore", "soon", "refreshBefore must be whole hours, minutes and seconds"},
	"another identity":                           {"identityRef", map[string]any{"name": "other"}, ""},
	"an identity of an unknown kind":             {"identityRef", map[string]any{"kind": "Role"}, "Unsupported value"},
	"an identity with an empty name":             {"identityRef", map[string]any{"name": ""}, "should be at least 1 chars long"},
	"an identity by a path":                      {"identityRef", map[string]any{"kind": "Identity", "name": "../bank/own"}, "identityRef.name must be a valid identity name"},
	"an identity of another namespace":           {"identityRef", map[string]any{"kind": "Identity", "name": "own", "namespace": "bank"}, `unknown field "spec.identityRef.namespace"`},
	"a service account":                          {"serviceAccountName", "s3.reader-1", ""},
	"a service account by a path":                {"serviceAccountName", "../../bank/serviceaccounts/reader", "serviceAccountName must be a valid service account name"},
	"a service account by a token's subject":     {"serviceAccountName", "system:serviceaccount:bank:reader", "serviceAccountName must be a valid service account name"},
	"another name for the Secret":                {"secret", map[string]any{"name": "aws.s3-reader"}, ""},
	"an invalid name for the Secret":             {"secret", map[string]any{"name": "S3_Reader"}, "secret.name must be a valid Secret name"},
	"labels and annotations":                     {"secret", map[string]any{"labels": map[string]any{"a": "b"}, "annotations": map[string]any{"a": "b"}}, ""},
	"a reserved label":                           {"secret", map[string]any{"labels": map[string]any{"app.kubernetes.io/managed-by": "me"}}, "are reserved for the operator: choose another key"},
	"a reserved annotation":                      {"secret", map[string]any{"annotations": map[string]any{"sts.rolecredential.dev/expiration": "never"}}, "annotations under sts.rolecredential.dev/ are reserved for the operator"},
	"too many labels":                            {"secret", map[string]any{"labels": entries(33)}, "must have at most 32 items"},
	"all formats": {"secret", map[string]any{"formats": []any{
		"Env", "Region", "SharedCredentials", "CredentialProcess", "KEDA", "CloudNativePG", "Velero", "Crossplane",
	}}, ""},
	"no formats":                                 {"secret", map[string]any{"formats": []any{}}, "should have at least 1 items"},
	"a format twice":                             {"secret", map[string]any{"formats": []any{"Env", "Env"}}, "Duplicate value"},
	"an unknown format":                          {"secret", map[string]any{"formats": []any{"Flux"}}, "Unsupported value"},
	"a mount path":                               {"secret", map[string]any{"formats": []any{"CredentialProcess"}, "mountPath": "/root/.aws"}, ""},
	"a mount path that is relative":              {"secret", map[string]any{"formats": []any{"CredentialProcess"}, "mountPath": "aws/x"}, "mountPath must be an absolute path"},
	"a mount path that ends in a slash":          {"secret", map[string]any{"formats": []any{"CredentialProcess"}, "mountPath": "/aws/"}, "mountPath must be an absolute path"},
	"a mount path that needs quotes":             {"secret", map[string]any{"formats": []any{"CredentialProcess"}, "mountPath": "/my aws"}, "no quoting works for all"},
	"a mount path that is a command":             {"secret", map[string]any{"formats": []any{"CredentialProcess"}, "mountPath": "/x;id"}, "mountPath must be an absolute path"},
	"a mount path of two lines":                  {"secret", map[string]any{"formats": []any{"CredentialProcess"}, "mountPath": "/x\nregion"}, "mountPath must be an absolute path"},
	"a mount path without its format":            {"secret", map[string]any{"mountPath": "/aws"}, "mountPath requires the format CredentialProcess"},
	"a mount path with another format":           {"secret", map[string]any{"formats": []any{"Velero"}, "mountPath": "/aws"}, "mountPath requires the format CredentialProcess"},
	"data":                                       {"secret", map[string]any{"data": map[string]any{"a-b_C.9": "{{.AccessKeyID}}"}}, ""},
	"an empty template":                          {"secret", map[string]any{"data": map[string]any{"a": ""}}, "a value of data must not be empty: set a template"},
	"a template of white space":                  {"secret", map[string]any{"data": map[string]any{"a": " \t\r\n"}}, "In a Helm chart, escape {{ }}"},
	"the longest template":                       {"secret", map[string]any{"data": map[string]any{"a": strings.Repeat("a", 4096)}}, ""},
	"a template that is too long":                {"secret", map[string]any{"data": map[string]any{"a": strings.Repeat("a", 4097)}}, "may not be more than 4096"},
	"the most data":                              {"secret", map[string]any{"data": entries(16)}, ""},
	"too many data":                              {"secret", map[string]any{"data": entries(17)}, "must have at most 16 items"},
	"no data":                                    {"secret", map[string]any{"data": map[string]any{}}, "should have at least 1 properties"},
	"data with the longest key":                  {"secret", map[string]any{"data": map[string]any{strings.Repeat("k", 253): "v"}}, ""},
	"data with a key that is too long":           {"secret", map[string]any{"data": map[string]any{strings.Repeat("k", 254): "v"}}, "each key of data must be a valid key of a Secret"},
	"data with a key that is a path":             {"secret", map[string]any{"data": map[string]any{"a/b": "v"}}, "each key of data must be a valid key of a Secret"},
	"data with an empty key":                     {"secret", map[string]any{"data": map[string]any{"": "v"}}, "each key of data must be a valid key of a Secret"},
	"data with the key of the folder":            {"secret", map[string]any{"data": map[string]any{".": "v"}}, "each key of data must be a valid key of a Secret"},
	"data with a key of the kubelet":             {"secret", map[string]any{"data": map[string]any{"..data": "v"}}, "each key of data must be a valid key of a Secret"},
	"data with a key of the default format":      {"secret", map[string]any{"data": map[string]any{"AWS_SESSION_TOKEN": "v"}}, "a key of data conflicts with a key of one of the formats"},
	"data with a key of an unused format":        {"secret", map[string]any{"formats": []any{"Velero"}, "data": map[string]any{"AWS_SESSION_TOKEN": "v"}}, ""},
	"a rollout that discovers":                   {"rollout", map[string]any{"discover": true}, ""},
	"a rollout of workloads by name":             {"rollout", map[string]any{"targets": []any{workload("Deployment", "web"), workload("Rollout", "web"), workload("StatefulSet", "db"), workload("DaemonSet", "agent")}}, ""},
	"a rollout of both":                          {"rollout", map[string]any{"discover": true, "targets": []any{workload("Deployment", "web")}}, ""},
	"an empty rollout":                           {"rollout", map[string]any{}, "rollout must set targets, or discover: true"},
	"a rollout that does not discover":           {"rollout", map[string]any{"discover": false}, "rollout must set targets, or discover: true"},
	"a rollout of an empty list":                 {"rollout", map[string]any{"discover": true, "targets": []any{}}, "should have at least 1 items"},
	"a rollout of a workload twice":              {"rollout", map[string]any{"targets": []any{workload("Deployment", "web"), workload("Deployment", "web")}}, "Duplicate value"},
	"a rollout of an unsupported kind":           {"rollout", map[string]any{"targets": []any{workload("CronJob", "night")}}, "Unsupported value"},
	"a rollout of a workload without a name":     {"rollout", map[string]any{"targets": []any{map[string]any{"kind": "Deployment"}}}, "Required value"},
	"a rollout of a workload by a path":          {"rollout", map[string]any{"targets": []any{workload("Deployment", "../../bank/deployments/web")}}, "name must be a valid workload name"},
	"a rollout of a workload without a kind":     {"rollout", map[string]any{"targets": []any{map[string]any{"name": "web"}}}, "Required value"},
	"a rollout of too many workloads":            {"rollout", map[string]any{"targets": workloads(65)}, "must have at most 64 items"},
	"a suspension":                               {"suspend", true, ""},
	"an MFA device":                              {"mfa", mfa("arn:aws:iam::123456789012:mfa/alice"), ""},
	"a device whose serial number is too short":  {"mfa", mfa("GAHT1234"), "should be at least 9 chars long"},
	"a device with an invalid serial number":     {"mfa", mfa("arn:aws:iam::1:mfa/a b"), "serialNumber may contain letters"},
	"a device whose seed is under any valid key": {"mfa", map[string]any{"serialNumber": "arn:aws:iam::123456789012:mfa/alice", "totpSecretRef": map[string]any{"name": "device", "key": "alice.seed_1-b"}}, ""},
	"a device whose key has a line break":        {"mfa", map[string]any{"serialNumber": "arn:aws:iam::123456789012:mfa/alice", "totpSecretRef": map[string]any{"name": "device", "key": "seed\nx"}}, "key must be a valid key of a Secret"},
	"a device whose key is a command":            {"mfa", map[string]any{"serialNumber": "arn:aws:iam::123456789012:mfa/alice", "totpSecretRef": map[string]any{"name": "device", "key": "$(x)"}}, "key must be a valid key of a Secret"},
	"a device whose key names a parent":          {"mfa", map[string]any{"serialNumber": "arn:aws:iam::123456789012:mfa/alice", "totpSecretRef": map[string]any{"name": "device", "key": "..seed"}}, "key must be a valid key of a Secret"},
	"a device whose seed is found by a path":     {"mfa", map[string]any{"serialNumber": "arn:aws:iam::123456789012:mfa/alice", "totpSecretRef": map[string]any{"name": "../bank/device", "key": "seed"}}, "name must be a valid Secret name"},
	"a device without a seed":                    {"mfa", map[string]any{"serialNumber": "arn:aws:iam::123456789012:mfa/alice"}, "Required value"},
	"a token code":                               {"mfa", map[string]any{"tokenCode": "123456"}, `unknown field "spec.mfa.tokenCode"`},
	"an unknown field":                           {"rolearn", "x", `unknown field "spec.rolearn"`},
}

var sessionCases = map[string]schemaCase{
	"the longest duration":            {"duration", "36h", ""},
	"a duration over 36h":             {"duration", "36h1s", "duration must be from 15m to 36h"},
	"a duration under 15m":            {"duration", "14m59s", "duration must be from 15m to 36h"},
	"a duration in words":             {"duration", "a day", "duration must be whole hours, minutes and seconds"},
	"a refreshBefore of the duration": {"refreshBefore", "12h", "refreshBefore must be less than duration"},
	"a refreshBefore of half of it":   {"refreshBefore", "6h", ""},
	"a spec with only defaults":       {"identityRef", nil, ""},
	"a role ARN":                      {"roleARN", "arn:aws:iam::123456789012:role/S3Reader", `unknown field "spec.roleARN"`},
}

var federatedCases = map[string]schemaCase{
	"the longest duration":           {"duration", "36h", ""},
	"a duration over 36h":            {"duration", "37h", "duration must be from 15m to 36h"},
	"no policy":                      {"policy", nil, "without a session policy, a federated user has no permissions"},
	"the shortest user name":         {"userName", "ab", ""},
	"the longest user name":          {"userName", strings.Repeat("a", 32), ""},
	"a user name of one character":   {"userName", "a", "should be at least 2 chars long"},
	"a user name that is too long":   {"userName", strings.Repeat("a", 33), "may not be more than 32"},
	"a user name with a slash":       {"userName", "a/b", "userName may contain letters"},
	"a policy that is not an object": {"policy", "[]", "policy must be an IAM policy document, a JSON object"},
	"managed policies too":           {"policyARNs", []any{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, ""},
	"tags":                           {"tags", []any{tag("team", "shop")}, ""},
	"a tag twice in another case":    {"tags", []any{tag("team", "a"), tag("Team", "b")}, "must differ in more than case"},
	"an external id":                 {"externalID", "k8s", `unknown field "spec.externalID"`},
}

var identityCases = map[string]schemaCase{
	"no region":                          {"region", nil, "spec.region: Required value"},
	"a future region of AWS":             {"region", "moon-far-1", ""},
	"a region of another server":         {"region", "RegionOne", "region must be the code of an AWS region, such as eu-west-1: for a region of another server, set endpoint"},
	"a region with a slash":              {"region", "eu/west", "region may contain letters, digits"},
	"an empty region":                    {"region", "", "should be at least 1 chars long"},
	"a region that is too long":          {"region", strings.Repeat("a", 64), "may not be more than 63"},
	"an endpoint":                        {"endpoint", "https://sts.example.internal", ""},
	"an endpoint with a port and a path": {"endpoint", "http://127.0.0.1:9000/sts", ""},
	"an endpoint without a scheme":       {"endpoint", "sts.example.internal", "endpoint must be the URL of a server"},
	"an endpoint of another scheme":      {"endpoint", "ftp://sts.example.internal", "endpoint must be the URL of a server"},
	"an endpoint without a host":         {"endpoint", "https://", "endpoint must be the URL of a server"},
	"an endpoint with a user":            {"endpoint", "https://a:b@sts.example.internal", "must not contain a user, a query or a fragment"},
	"an endpoint with a query":           {"endpoint", "https://sts.example.internal?a=b", "must not contain a user, a query or a fragment"},
	"a CA bundle":                        {"caBundle", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----", ""},
	"a CA bundle that is not PEM":        {"caBundle", "MIIB", "caBundle must contain PEM certificates"},
	"an access key":                      {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"namespace": "a", "name": "b"}}}, ""},
	"an access key by a path":            {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"namespace": "a", "name": "../b"}}}, "secretRef.name must be a valid Secret name"},
	"an access key in a path":            {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"namespace": "a/b", "name": "b"}}}, "secretRef.namespace must be a valid namespace name"},
	"an access key without a namespace":  {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"name": "b"}}}, "Required value"},
	"no source":                          {"source", nil, "spec.source: Required value"},
	"an empty source":                    {"source", map[string]any{}, "source must have exactly one of ambient, accessKey, serviceAccount, x509, oidc and webIdentityToken"},
	"two sources":                        {"source", map[string]any{"ambient": map[string]any{}, "accessKey": map[string]any{"secretRef": map[string]any{"namespace": "a", "name": "b"}}}, "source must have exactly one of ambient, accessKey, serviceAccount, x509, oidc and webIdentityToken"},
	"a chain":                            {"chain", []any{hop("a"), hop("b")}, ""},
	"a hop with all fields": {"chain", []any{map[string]any{
		"roleARN": "arn:aws:iam::123456789012:role/Hub", "sessionName": "hub", "externalID": "k8s", "tags": []any{tag("team", "shop")}, "transitiveTagKeys": []any{"team"},
	}}, ""},
	"no hops in a chain":                       {"chain", []any{}, "should have at least 1 items"},
	"a chain of nine":                          {"chain", hops(9), "must have at most 8 items"},
	"a chain with the same role twice":         {"chain", []any{hop("a"), hop("b"), hop("a")}, "a chain must not contain the same role twice"},
	"a hop that is not a role":                 {"chain", []any{map[string]any{"roleARN": "arn:aws:iam::123456789012:user/alice"}}, "each roleARN of chain must be the ARN of an IAM role, such as"},
	"a hop of another server":                  {"chain", []any{hop("a"), map[string]any{"roleARN": "urn:ecs:iam::ns1:role/admins"}}, "each roleARN of chain must be the ARN of an IAM role, such as"},
	"a hop with a space":                       {"chain", []any{hop("a b")}, "roleARN may contain printable ASCII characters other than spaces"},
	"a hop with an invalid session name":       {"chain", []any{hopWith("sessionName", "a b")}, "sessionName may contain letters"},
	"a hop with an invalid external id":        {"chain", []any{hopWith("externalID", "a b")}, "externalID may contain letters"},
	"a hop with a tag of AWS's own":            {"chain", []any{hopWith("tags", []any{tag("aws:x", "y")})}, "a tag's key must not start with aws:"},
	"a hop with an invalid tag":                {"chain", []any{hopWith("tags", []any{tag("*", "y")})}, "a tag's key may contain letters"},
	"a hop with a tag of an invalid value":     {"chain", []any{hopWith("tags", []any{tag("x", "*")})}, "a tag's value may contain letters"},
	"a hop with a tag twice":                   {"chain", []any{hopWith("tags", []any{tag("x", "y"), tag("X", "y")})}, "must differ in more than case"},
	"a hop with a transitive key too many":     {"chain", []any{hopWith("transitiveTagKeys", []any{"team"})}, "each of transitiveTagKeys must be the key of one of tags"},
	"the highest rate limit":                   {"stsQPS", int64(1000), ""},
	"the lowest rate limit":                    {"stsQPS", int64(1), ""},
	"a rate limit of zero":                     {"stsQPS", int64(0), "should be greater than or equal to 1"},
	"a rate limit that is too high":            {"stsQPS", int64(1001), "should be less than or equal to 1000"},
	"a rate limit that is not an integer":      {"stsQPS", 0.5, "must be of type integer"},
	"session tags":                             {"sessionTags", map[string]any{"clusterName": "prod-eu", "transitive": true}, ""},
	"session tags without a cluster":           {"sessionTags", map[string]any{"transitive": true}, "Required value"},
	"session tags of an invalid cluster":       {"sessionTags", map[string]any{"clusterName": "*"}, "clusterName may contain letters"},
	"no rules":                                 {"allow", nil, "spec.allow: Required value"},
	"an empty list of rules":                   {"allow", []any{}, ""},
	"too many rules":                           {"allow", rules(65), "must have at most 64 items"},
	"a rule for everything":                    {"allow", []any{rule("namespaces", []any{"*"})}, ""},
	"a rule for no namespaces":                 {"allow", []any{map[string]any{"roleARNs": []any{"*"}}}, "a rule must have exactly one of namespaces and namespaceSelector"},
	"a rule for an empty list of them":         {"allow", []any{rule("namespaces", []any{})}, "should have at least 1 items"},
	"a rule for names and a selector":          {"allow", []any{map[string]any{"roleARNs": []any{"*"}, "namespaces": []any{"a"}, "namespaceSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}}}}, "a rule must have exactly one of namespaces and namespaceSelector"},
	"a rule for an invalid name":               {"allow", []any{rule("namespaces", []any{"Shop"})}, "each of namespaces must be a namespace's name"},
	"a rule by labels":                         {"allow", []any{rule("namespaceSelector", map[string]any{"matchLabels": map[string]any{"a": "b"}})}, ""},
	"a rule by an expression":                  {"allow", []any{rule("namespaceSelector", map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "Exists"}}})}, ""},
	"a rule by an empty selector":              {"allow", []any{rule("namespaceSelector", map[string]any{})}, "namespaceSelector must not be empty"},
	"a rule by empty labels":                   {"allow", []any{rule("namespaceSelector", map[string]any{"matchLabels": map[string]any{}})}, "namespaceSelector must not be empty"},
	"a rule without roles":                     {"allow", []any{map[string]any{"namespaces": []any{"a"}}}, "a rule must have roleARNs if it allows the call AssumeRole"},
	"a rule with an empty list of roles":       {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{})}, "should have at least 1 items"},
	"a rule with a pattern":                    {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{"arn:aws:iam::123456789012:role/shop-*"})}, ""},
	"a rule with a role's name alone":          {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{"shop-*"})}, "each of roleARNs must be a full IAM role ARN"},
	"a rule with roles of another server":      {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{"*", "urn:ecs:iam::ns1:role/*", "arn:aws:iam::role/x"})}, "for roles of another server, set endpoint"},
	"a rule with a pattern with a space":       {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{"arn:aws:iam::123456789012:role/a b"})}, "each of roleARNs may contain printable ASCII characters other than spaces"},
	"the most roles in the most rules":         {"allow", fullRules(), ""},
	"a rule with a longest duration":           {"allow", []any{rule("namespaces", []any{"a"}, "maxDuration", "1h")}, ""},
	"a rule with a duration in words":          {"allow", []any{rule("namespaces", []any{"a"}, "maxDuration", "long")}, "maxDuration must be whole hours, minutes and seconds"},
	"a rule with a duration under 15m":         {"allow", []any{rule("namespaces", []any{"a"}, "maxDuration", "14m")}, "maxDuration must be at least 15m"},
	"a rule with session names":                {"allow", []any{rule("namespaces", []any{"a"}, "sessionNames", []any{"ci-*"})}, ""},
	"a rule with invalid session names":        {"allow", []any{rule("namespaces", []any{"a"}, "sessionNames", []any{"a b"})}, "each of sessionNames may contain letters"},
	"a rule with a call":                       {"allow", []any{rule("namespaces", []any{"a"}, "calls", []any{"AssumeRole"})}, ""},
	"a rule with a call without roles":         {"allow", []any{map[string]any{"namespaces": []any{"a"}, "calls": []any{"GetSessionToken", "GetFederationToken"}}}, ""},
	"a rule with all calls":                    {"allow", []any{rule("namespaces", []any{"a"}, "calls", []any{"AssumeRole", "GetSessionToken", "GetFederationToken", "CreateSession"})}, ""},
	"a rule with roles but without AssumeRole": {"allow", []any{rule("namespaces", []any{"a"}, "calls", []any{"GetSessionToken"})}, "a rule must have roleARNs if it allows the call AssumeRole"},
	"a rule with CreateSession":                {"allow", []any{rule("namespaces", []any{"a"}, "calls", []any{"CreateSession"})}, ""},
	"a rule with CreateSession without roles":  {"allow", []any{map[string]any{"namespaces": []any{"a"}, "calls": []any{"CreateSession"}}}, "a rule must have roleARNs if it allows the call AssumeRole or CreateSession"},
	"a rule with an unknown call":              {"allow", []any{rule("namespaces", []any{"a"}, "calls", []any{"AssumeRoot"})}, "Unsupported value"},
}

// endpointCases are for identities with an endpoint, whose server defines the names of regions and roles.
var endpointCases = map[string]schemaCase{
	"a region of another server":           {"region", "RegionOne", ""},
	"a region with all allowed characters": {"region", "aZ0._-", ""},
	"a region with a slash":                {"region", "a/b", "region may contain letters, digits"},
	"a region with a line break":           {"region", "a\nb", "region may contain letters, digits"},
	"hops of other servers":                {"chain", []any{map[string]any{"roleARN": "urn:ecs:iam::ns1:role/admins"}, map[string]any{"roleARN": "arn:aws:iam::role/ClientRole"}}, ""},
	"a hop with a space":                   {"chain", []any{hop("a b")}, "roleARN may contain printable ASCII characters other than spaces"},
	"a rule with roles of other servers":   {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{"urn:ecs:iam::ns1:role/*", "arn:aws:iam::role/Client*", "shop-*"})}, ""},
	"a rule with a pattern with a space":   {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{"a b"})}, "each of roleARNs may contain printable ASCII characters other than spaces"},
	"a rule with an empty pattern":         {"allow", []any{rule("namespaces", []any{"a"}, "roleARNs", []any{""})}, "should be at least 1 chars long"},
}

// tokenCases are for identities whose source is a service account.
var tokenCases = map[string]schemaCase{
	"an audience":                         {"source", serviceAccount("sts.amazonaws.com.cn"), ""},
	"an audience in another script":       {"source", serviceAccount("città.example/1 2"), ""},
	"an audience with a line break":       {"source", serviceAccount("a\nb"), "audience must not contain line breaks"},
	"an audience with an escape sequence": {"source", serviceAccount("a\x1b[2J"), "audience must not contain line breaks"},
	"the API server's audience":           {"source", serviceAccount("https://kubernetes.default.svc.cluster.local"), "audience must not be that of the Kubernetes API server"},
	"session tags for service accounts":   {"sessionTags", map[string]any{"clusterName": "prod-eu"}, "sessionTags does not work with source.serviceAccount"},
	"a chain":                             {"chain", []any{hop("a"), hopWith("externalID", "k8s")}, ""},
	"a first hop with an external id":     {"chain", []any{hopWith("externalID", "k8s"), hop("a")}, "the first hop of the chain must not have externalID or tags"},
	"a first hop with tags":               {"chain", []any{hopWith("tags", []any{tag("x", "y")})}, "the first hop of the chain must not have externalID or tags"},
}

var ownIdentityCases = map[string]schemaCase{
	"an access key":               {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"name": "b"}}}, ""},
	"another namespace's Secret":  {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"namespace": "a", "name": "b"}}}, "unknown field"},
	"a Secret by a path":          {"source", map[string]any{"accessKey": map[string]any{"secretRef": map[string]any{"name": "../../bank/secrets/b"}}}, "secretRef.name must be a valid Secret name"},
	"the operator's own identity": {"source", map[string]any{"ambient": map[string]any{}}, "unknown field"},
	"rules":                       {"allow", []any{rule("namespaces", []any{"*"})}, "unknown field"},
	"no source":                   {"source", map[string]any{}, "at least 1 properties"},
	"two sources":                 {"source", map[string]any{"serviceAccount": map[string]any{}, "accessKey": map[string]any{"secretRef": map[string]any{"name": "b"}}}, "source must have exactly one of accessKey, serviceAccount, x509, oidc and webIdentityToken"},
	"no region":                   {"region", nil, "spec.region: Required value"},
	"an endpoint":                 {"endpoint", "https://sts.example", ""}, // the operator rejects it unless its flag allows it
}

const (
	trustAnchor = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/01234567-89ab-cdef-0123-456789abcdef"
	anyProfile  = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/01234567-89ab-cdef-0123-456789abcdef"
)

// x509Cases are for identities whose source is a certificate, in a Secret that newSource names.
func x509Cases(secretRef any) map[string]schemaCase {
	x509 := newSource("x509", map[string]any{"secretRef": secretRef, "trustAnchorARN": trustAnchor, "profileARN": anyProfile})
	return map[string]schemaCase{
		"a certificate":                   {"source", x509(), ""},
		"all fields":                      {"source", x509("endpoint", "https://vpce.example", "acceptRoleSessionName", true), ""},
		"another partition":               {"source", x509("trustAnchorARN", strings.Replace(trustAnchor, "aws", "aws-us-gov", 1)), ""}, // a condition reports it
		"no Secret":                       {"source", x509("secretRef", nil), "secretRef: Required value"},
		"no trust anchor":                 {"source", x509("trustAnchorARN", nil), "trustAnchorARN: Required value"},
		"no profile":                      {"source", x509("profileARN", nil), "profileARN: Required value"},
		"a profile as the trust anchor":   {"source", x509("trustAnchorARN", anyProfile), "trustAnchorARN must be the ARN of a trust anchor"},
		"a trust anchor as the profile":   {"source", x509("profileARN", trustAnchor), "profileARN must be the ARN of a profile"},
		"a trust anchor by its ID":        {"source", x509("trustAnchorARN", "01234567-89ab-cdef-0123-456789abcdef"), "trustAnchorARN must be the ARN of a trust anchor"},
		"a profile without an account":    {"source", x509("profileARN", strings.Replace(anyProfile, "123456789012", "", 1)), "profileARN must be the ARN of a profile"},
		"a profile of another region":     {"source", x509("profileARN", strings.Replace(anyProfile, "eu-west-1", "eu-west-2", 1)), "trustAnchorARN and profileARN must be of the same region"},
		"a profile with a line break":     {"source", x509("profileARN", anyProfile+"\n"), "profileARN must be the ARN of a profile"},
		"an endpoint without a scheme":    {"source", x509("endpoint", "vpce.example"), "endpoint must be the URL of a server"},
		"an endpoint with a user":         {"source", x509("endpoint", "https://a:b@vpce.example"), "must not contain a user, a query or a fragment"},
		"an endpoint with a query":        {"source", x509("endpoint", "https://vpce.example?a=b"), "must not contain a user, a query or a fragment"},
		"session tags without a chain":    {"sessionTags", map[string]any{"clusterName": "prod-eu"}, "sessionTags does not work with source."},
		"a chain":                         {"chain", []any{hop("a"), hopWith("externalID", "k8s")}, ""},
		"a first hop with an external id": {"chain", []any{hopWith("externalID", "k8s")}, "the first hop of the chain must not have externalID or tags"},
		"a first hop with tags":           {"chain", []any{hopWith("tags", []any{tag("x", "y")})}, "the first hop of the chain must not have externalID or tags"},
		"a first hop with a session name": {"chain", []any{hopWith("sessionName", "hub")}, "the first hop of the chain must not have sessionName with source.x509"},
		"a later hop with a session name": {"chain", []any{hop("a"), hopWith("sessionName", "hub")}, ""},
	}
}

// oidcCases are for identities whose source is an OIDC client, with a secret that newSource names.
func oidcCases(secretRef map[string]any) map[string]schemaCase {
	byPath := maps.Clone(secretRef)
	byPath["name"] = "../b"
	oidc := newSource("oidc", map[string]any{"issuer": "https://id.example/realms/prod", "clientID": "operator", "clientSecretRef": secretRef})
	return map[string]schemaCase{
		"a client":                       {"source", oidc(), ""},
		"a token endpoint":               {"source", oidc("issuer", nil, "tokenURL", "https://id.example/token?tenant=prod"), ""},
		"all fields":                     {"source", oidc("scopes", []any{"sts", "https://id.example/.default"}, "audience", "sts.amazonaws.com", "caBundle", "-----BEGIN CERTIFICATE-----"), ""},
		"an issuer and a token endpoint": {"source", oidc("tokenURL", "https://id.example/token"), "oidc must have exactly one of issuer and tokenURL"},
		"no issuer":                      {"source", oidc("issuer", nil), "oidc must have exactly one of issuer and tokenURL"},
		"an issuer without a scheme":     {"source", oidc("issuer", "id.example"), "issuer must be the URL of an OIDC provider"},
		"an issuer with a query":         {"source", oidc("issuer", "https://id.example?a=b"), "issuer must not contain a user, a query or a fragment"},
		"a token endpoint with a user":   {"source", oidc("issuer", nil, "tokenURL", "https://a:b@id.example/token"), "tokenURL must not contain a user or a fragment"},
		"a token endpoint that is none":  {"source", oidc("issuer", nil, "tokenURL", "token"), "tokenURL must be the URL of a token endpoint"},
		"no client":                      {"source", oidc("clientID", nil), "clientID: Required value"},
		"a client with a line break":     {"source", oidc("clientID", "a\nb"), "clientID may contain printable ASCII characters"},
		"no secret":                      {"source", oidc("clientSecretRef", nil), "clientSecretRef: Required value"},
		"a secret by a path":             {"source", oidc("clientSecretRef", byPath), "name must be a valid Secret name"},
		"a scope with a space":           {"source", oidc("scopes", []any{"sts admin"}), "each of scopes may contain printable ASCII characters other than spaces"},
		"a scope with a backslash":       {"source", oidc("scopes", []any{"a\\b"}), "each of scopes may contain printable ASCII characters other than spaces"},
		"a scope with brackets":          {"source", oidc("scopes", []any{"[a]"}), ""},
		"no scopes":                      {"source", oidc("scopes", []any{}), "should have at least 1 items"},
		"an audience with a line break":  {"source", oidc("audience", "a\nb"), "audience must not contain line breaks"},
		"a CA bundle that is not PEM":    {"source", oidc("caBundle", "MIIB"), "caBundle must contain PEM certificates"},
		"a first hop with tags":          {"chain", []any{hopWith("tags", []any{tag("x", "y")})}, "the first hop of the chain must not have externalID or tags"},
		"a first hop with a name":        {"chain", []any{hopWith("sessionName", "hub")}, ""},
		"session tags without a chain":   {"sessionTags", map[string]any{"clusterName": "prod-eu"}, "sessionTags does not work with source."},
	}
}

// newSource returns a function that returns a source with some of its fields replaced, or left out if nil.
func newSource(kind string, fields map[string]any) func(namesAndValues ...any) any {
	return func(namesAndValues ...any) any {
		source := maps.Clone(fields)
		for pair := range slices.Chunk(namesAndValues, 2) {
			if name, _ := pair[0].(string); pair[1] == nil {
				delete(source, name)
			} else {
				source[name] = pair[1]
			}
		}
		return map[string]any{kind: source}
	}
}

func serviceAccount(audience string) any {
	return map[string]any{"serviceAccount": map[string]any{"audience": audience}}
}

func policies(n int) (all []any) {
	for i := range n {
		all = append(all, fmt.Sprintf("arn:aws:iam::123456789012:policy/P%d", i))
	}
	return all
}

func tag(key, value string) any { return map[string]any{"key": key, "value": value} }

func tags(n int) (all []any) {
	for i := range n {
		all = append(all, tag(fmt.Sprintf("key-%d", i), "v"))
	}
	return all
}

func entries(n int) map[string]any {
	all := map[string]any{}
	for i := range n {
		all[fmt.Sprintf("key-%d", i)] = "v"
	}
	return all
}

func mfa(serial string) any {
	return map[string]any{"serialNumber": serial, "totpSecretRef": map[string]any{"name": "device", "key": "seed"}}
}

func workload(kind, name string) any { return map[string]any{"kind": kind, "name": name} }

func workloads(n int) (all []any) {
	for i := range n {
		all = append(all, workload("Deployment", fmt.Sprint("web-", i)))
	}
	return all
}

func hop(name string) any { return map[string]any{"roleARN": "arn:aws:iam::123456789012:role/" + name} }

func hops(n int) (all []any) {
	for i := range n {
		all = append(all, hop(fmt.Sprint(i)))
	}
	return all
}

// hopWith returns a hop with an additional field.
func hopWith(field string, value any) any {
	return map[string]any{"roleARN": "arn:aws:iam::123456789012:role/Hub", field: value}
}

// rule returns a rule for all roles, with additional fields as pairs of name and value.
func rule(pairs ...any) map[string]any {
	fields := map[string]any{"roleARNs": []any{"*"}}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	return fields
}

func rules(n int) (all []any) {
	for range n {
		all = append(all, rule("namespaces", []any{"a"}))
	}
	return all
}

// fullRules returns the maximum number of rules and patterns, as long as fits into an object in etcd. The API server bounds the cost of
// a CRD's validation rules.
func fullRules() (all []any) {
	for range 64 {
		var patterns []any
		for i := range 64 {
			patterns = append(patterns, fmt.Sprintf("arn:aws:iam::123456789012:role/%0310d", i))
		}
		all = append(all, rule("namespaces", []any{"a"}, "roleARNs", patterns))
	}
	return all
}

func TestSchemaOfRoleCredential(t *testing.T) {
	runSchema(t, goodCredential, credentialCases, func() client.Object { return &v1alpha1.RoleCredential{} })
}

func TestSchemaOfClusterIdentity(t *testing.T) {
	runSchema(t, goodIdentity, identityCases, func() client.Object { return &v1alpha1.ClusterIdentity{} })
}

func TestSchemaOfIdentitiesWithAnEndpoint(t *testing.T) {
	withEndpoint := func(good string) string {
		return strings.Replace(good, "  region: eu-west-1", "  region: eu-west-1\n  endpoint: https://sts.example.internal", 1)
	}
	t.Run("ClusterIdentity", func(t *testing.T) {
		runSchema(t, withEndpoint(goodIdentity), endpointCases, func() client.Object { return &v1alpha1.ClusterIdentity{} })
	})
	t.Run("Identity", func(t *testing.T) {
		cases := maps.Clone(endpointCases)
		maps.DeleteFunc(cases, func(_ string, c schemaCase) bool { return c.path == "allow" })
		runSchema(t, withEndpoint(goodOwnIdentity), cases, func() client.Object { return &v1alpha1.Identity{} })
	})
}

func TestAppliedRulesAreStoredUnchanged(t *testing.T) {
	g := NewWithT(t)
	manifest := &unstructured.Unstructured{}
	g.Expect(yaml.Unmarshal([]byte(goodIdentity), &manifest.Object)).To(Succeed())
	applied := manifest.DeepCopy()
	g.Expect(admin.Create(t.Context(), manifest, client.DryRunAll)).To(Succeed())
	g.Expect(manifest.Object["spec"]).To(Equal(applied.Object["spec"]))
}

func TestSchemaOfIdentity(t *testing.T) {
	runSchema(t, goodOwnIdentity, ownIdentityCases, func() client.Object { return &v1alpha1.Identity{} })
}

func TestSchemaOfIdentitiesWithAServiceAccount(t *testing.T) {
	t.Run("Identity", func(t *testing.T) {
		runSchema(t, goodOwnIdentity, tokenCases, func() client.Object { return &v1alpha1.Identity{} })
	})
	t.Run("ClusterIdentity", func(t *testing.T) {
		byToken := strings.Replace(goodIdentity, "{ambient: {}}", "{serviceAccount: {}}", 1)
		runSchema(t, byToken, tokenCases, func() client.Object { return &v1alpha1.ClusterIdentity{} })
	})
	t.Run("ClusterIdentity with a chain", func(t *testing.T) {
		byChain := strings.Replace(goodIdentity, "{ambient: {}}", "{serviceAccount: {}}\n  chain: [{roleARN: \"arn:aws:iam::123456789012:role/Hub\"}]", 1)
		runSchema(t, byChain, map[string]schemaCase{
			"session tags": {"sessionTags", map[string]any{"clusterName": "prod-eu"}, "a namespace can call STS with its own token and any tags"},
		}, func() client.Object { return &v1alpha1.ClusterIdentity{} })
	})
}

// sourceTable has the cases of a source, in a good manifest of a kind.
type sourceTable struct {
	kind, good, source string
	cases              map[string]schemaCase
}

// sourceTables has the sources whose Secrets an Identity may name only in its own namespace.
func sourceTables() map[string]sourceTable {
	local, other := map[string]any{"name": "source"}, map[string]any{"namespace": "operator", "name": "source"}
	keyed, otherKeyed := map[string]any{"name": "source", "key": "value"}, map[string]any{"namespace": "operator", "name": "source", "key": "value"}
	token := newSource("webIdentityToken", map[string]any{"secretRef": keyed})
	otherToken := newSource("webIdentityToken", map[string]any{"secretRef": otherKeyed})
	return map[string]sourceTable{
		"x509 of an Identity":       {"Identity", goodOwnIdentity, `{x509: {secretRef: {name: source}, trustAnchorARN: "` + trustAnchor + `", profileARN: "` + anyProfile + `"}}`, x509Cases(local)},
		"x509 of a ClusterIdentity": {"ClusterIdentity", goodIdentity, `{x509: {secretRef: {namespace: operator, name: source}, trustAnchorARN: "` + trustAnchor + `", profileARN: "` + anyProfile + `"}}`, x509Cases(other)},
		"oidc of an Identity":       {"Identity", goodOwnIdentity, `{oidc: {issuer: "https://id.example", clientID: operator, clientSecretRef: {name: source, key: value}}}`, oidcCases(keyed)},
		"oidc of a ClusterIdentity": {"ClusterIdentity", goodIdentity, `{oidc: {issuer: "https://id.example", clientID: operator, clientSecretRef: {namespace: operator, name: source, key: value}}}`, oidcCases(otherKeyed)},
		"token of an Identity": {"Identity", goodOwnIdentity, `{webIdentityToken: {secretRef: {name: source, key: value}}}`, map[string]schemaCase{
			"a token":                    {"source", token(), ""},
			"another namespace's Secret": {"source", otherToken(), "unknown field"},
			"no key":                     {"source", token("secretRef", local), "key: Required value"},
			"session tags":               {"sessionTags", map[string]any{"clusterName": "prod-eu"}, "sessionTags does not work with source."},
		}},
		"token of a ClusterIdentity": {"ClusterIdentity", goodIdentity, `{webIdentityToken: {secretRef: {namespace: operator, name: source, key: value}}}`, map[string]schemaCase{
			"a token":                 {"source", otherToken(), ""},
			"no namespace":            {"source", token(), "namespace: Required value"},
			"a namespace by a path":   {"source", token("secretRef", map[string]any{"namespace": "../a", "name": "b", "key": "c"}), "namespace must be a valid namespace name"},
			"a key by a path":         {"source", token("secretRef", map[string]any{"namespace": "a", "name": "b", "key": "../c"}), "key must be a valid key of a Secret"},
			"session tags":            {"sessionTags", map[string]any{"clusterName": "prod-eu"}, "sessionTags does not work with source."},
			"a first hop with a name": {"chain", []any{hopWith("sessionName", "hub")}, ""},
		}},
	}
}

func TestSchemaOfSources(t *testing.T) {
	typed := map[string]func() client.Object{
		"Identity":        func() client.Object { return &v1alpha1.Identity{} },
		"ClusterIdentity": func() client.Object { return &v1alpha1.ClusterIdentity{} },
	}
	for name, tc := range sourceTables() {
		t.Run(name, func(t *testing.T) {
			runSchema(t, withSource(tc.good, tc.source), tc.cases, typed[tc.kind])
		})
		t.Run(name+" with a chain", func(t *testing.T) {
			chained := withSource(tc.good, tc.source+"\n  chain: [{roleARN: \"arn:aws:iam::123456789012:role/Hub\"}]")
			runSchema(t, chained, map[string]schemaCase{"session tags": {"sessionTags", map[string]any{"clusterName": "prod-eu"}, ""}}, typed[tc.kind])
		})
	}
}

// withSource replaces the source of a manifest.
func withSource(manifest, source string) string {
	return strings.NewReplacer("{serviceAccount: {}}", source, "{ambient: {}}", source).Replace(manifest)
}

func TestSchemaOfSessionCredential(t *testing.T) {
	runSchema(t, goodSession, sessionCases, func() client.Object { return &v1alpha1.SessionCredential{} })
}

func TestSchemaOfFederatedCredential(t *testing.T) {
	runSchema(t, goodFederated, federatedCases, func() client.Object { return &v1alpha1.FederatedCredential{} })
}

func runSchema(t *testing.T, good string, cases map[string]schemaCase, typed func() client.Object) {
	errors, invalid := golden{}, 0
	for name, tc := range cases {
		if tc.wantErr != "" {
			invalid++
		}
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			manifest := &unstructured.Unstructured{}
			g.Expect(yaml.Unmarshal([]byte(good), &manifest.Object)).To(Succeed())
			if tc.value == nil {
				unstructured.RemoveNestedField(manifest.Object, "spec", tc.path)
			} else {
				g.Expect(unstructured.SetNestedField(manifest.Object, tc.value, "spec", tc.path)).To(Succeed())
			}
			err := admin.Create(t.Context(), manifest, client.DryRunAll, client.FieldValidation("Strict"))
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				errors[name] = fmt.Sprintf("spec.%s: %s\n%s", tc.path, shorten(g, tc.value), kubectlError(g, err))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			// The operator must be able to decode each accepted object: one that it cannot decode would stop its watch.
			g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(manifest.Object, typed())).To(Succeed())
		})
	}
	if invalid > 0 {
		errors.compare(t, invalid)
	}
}

// Each validation rule must have a case that expects its message.
func TestEachRuleOfTheSchemaHasACase(t *testing.T) {
	g := NewWithT(t)
	cases := map[string]map[string]schemaCase{
		"RoleCredential": credentialCases, "SessionCredential": sessionCases, "FederatedCredential": federatedCases, "ClusterIdentity": identityCases, "Identity": ownIdentityCases,
	}
	for kind, crd := range crds(g) {
		// The cases of one kind cover the rules that the kinds share.
		var tried []schemaCase
		for _, table := range []map[string]schemaCase{cases[kind], credentialCases, identityCases, tokenCases, endpointCases} {
			tried = slices.AppendSeq(tried, maps.Values(table))
		}
		for _, table := range sourceTables() {
			tried = slices.AppendSeq(tried, maps.Values(table.cases))
		}
		messages := messagesOf(*crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
		g.Expect(messages).NotTo(BeEmpty())
		for _, message := range messages {
			g.Expect(slices.ContainsFunc(tried, func(c schemaCase) bool { return c.wantErr != "" && strings.Contains(message, c.wantErr) })).To(BeTrue(), message)
		}
	}
}

func messagesOf(schema apiextensionsv1.JSONSchemaProps) (messages []string) {
	for _, validation := range schema.XValidations {
		messages = append(messages, validation.Message)
	}
	for _, property := range schema.Properties {
		messages = append(messages, messagesOf(property)...)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		messages = append(messages, messagesOf(*schema.Items.Schema)...)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		messages = append(messages, messagesOf(*schema.AdditionalProperties.Schema)...)
	}
	return messages
}

func TestSchemaAcceptsTransitiveTagKeys(t *testing.T) {
	g := NewWithT(t)
	manifest := &unstructured.Unstructured{}
	g.Expect(yaml.Unmarshal([]byte(goodCredential), &manifest.Object)).To(Succeed())
	g.Expect(unstructured.SetNestedField(manifest.Object, tags(2), "spec", "tags")).To(Succeed())
	g.Expect(unstructured.SetNestedField(manifest.Object, []any{"key-1"}, "spec", "transitiveTagKeys")).To(Succeed())
	g.Expect(admin.Create(t.Context(), manifest, client.DryRunAll)).To(Succeed())
}
