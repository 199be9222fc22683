package identity_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

const (
	goodID     = "AKIAIOSFODNN7EXAMPLE"
	goodSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	goodToken  = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ+/="
)

func TestSecretWithoutAValidAccessKeyIsInvalid(t *testing.T) {
	const bare = " Store the bare values there, without quotation marks, variable names or line breaks."
	for name, tc := range map[string]struct {
		id, secret, token string
		wantAtAWS         string // what is odd; nothing if all is well
		wantWithEndpoint  string
	}{
		"a key":                                   {id: goodID, secret: goodSecret},
		"a key with a session token":              {id: goodID, secret: goodSecret, token: goodToken},
		"line breaks at the ends":                 {id: goodID + "\n", secret: "\n" + goodSecret + "\r\n", token: goodToken + "\n"},
		"a key of another length":                 {id: "AKIA", secret: "abc"},
		"a line break in the ID":                  {"AKIAIOS\nFODNN7EXAMPLE", goodSecret, "", "a control character, such as a line break, in AWS_ACCESS_KEY_ID", "a control character, such as a line break, in AWS_ACCESS_KEY_ID"},
		"a line break in the secret":              {goodID, "wJalr\nXUtn", "", "a control character, such as a line break, in AWS_SECRET_ACCESS_KEY", ""},
		"a line break in the session token":       {goodID, goodSecret, "IQoJ\nb3Jp", "a control character, such as a line break, in AWS_SESSION_TOKEN", "a control character, such as a line break, in AWS_SESSION_TOKEN"},
		"quotation marks around both":             {`"` + goodID + `"`, `"` + goodSecret + `"`, "", "a quotation mark in AWS_ACCESS_KEY_ID, a quotation mark in AWS_SECRET_ACCESS_KEY", ""},
		"single quotation marks":                  {"'" + goodID + "'", goodSecret, "", "a quotation mark in AWS_ACCESS_KEY_ID", ""},
		"white space in the ID":                   {"AKIA IOSFODNN7EXAMPLE", goodSecret, "", "white space in AWS_ACCESS_KEY_ID", ""},
		"white space of Unicode":                  {goodID, "wJalr\u00a0XUtn", "", "white space in AWS_SECRET_ACCESS_KEY", ""},
		"a null byte":                             {goodID + "\x00", goodSecret, "", "a control character, such as a line break, in AWS_ACCESS_KEY_ID", "a control character, such as a line break, in AWS_ACCESS_KEY_ID"},
		"the variable's name before the value":    {"AWS_ACCESS_KEY_ID=" + goodID, goodSecret, "", "a character that is not base64 in AWS_ACCESS_KEY_ID", ""},
		"a comma of JSON":                         {goodID, goodSecret + ",", "", "a character that is not base64 in AWS_SECRET_ACCESS_KEY", ""},
		"a byte order mark":                       {"\ufeff" + goodID, goodSecret, "", "a character that is not base64 in AWS_ACCESS_KEY_ID", ""},
		"bytes that are no text":                  {goodID, "\xff\xfe", "", "a character that is not base64 in AWS_SECRET_ACCESS_KEY", ""},
		"a user and a password of another server": {"operator@example.com", "correct horse", "", "a character that is not base64 in AWS_ACCESS_KEY_ID, white space in AWS_SECRET_ACCESS_KEY", ""},
	} {
		const contains = "Secret system/bootstrap contains characters that are not valid in an access key: "
		for _, at := range []struct{ name, endpoint, want string }{
			{"at AWS", "", tc.wantAtAWS},
			{"with an endpoint", "https://sts.example", tc.wantWithEndpoint},
		} {
			t.Run(name+" "+at.name, func(t *testing.T) {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "bootstrap"}, Data: map[string][]byte{
					"AWS_ACCESS_KEY_ID": []byte(tc.id), "AWS_SECRET_ACCESS_KEY": []byte(tc.secret), "AWS_SESSION_TOKEN": []byte(tc.token),
				}}
				f := newFixture(t, secret)
				found := withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint = at.endpoint })
				f.exists(found)
				_, problem, err := f.resolver.ResolveObject(t.Context(), found, shopDefault)
				f.Expect(err).NotTo(HaveOccurred())
				if at.want == "" {
					f.Expect(problem).To(BeNil())
					return
				}
				f.Expect(problem).To(Equal(&reason.Error{
					Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidSecret, Message: contains + at.want + "." + bare, Retry: reason.Never,
				}))
				f.Expect(f.connected).To(BeZero(), "STS is not called")
				f.Expect(f.watch.subscribed).To(HaveKey(defaultKey), "a changed Secret is tried at once")
			})
		}
	}
}

func TestAmbientKeyWithAControlCharacterIsASourceError(t *testing.T) {
	noAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA\nAMBIENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", goodSecret)
	f := newFixture(t)
	found := withKey(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	})
	keys, err := f.credentials(found)
	f.Expect(err).To(MatchError(ContainSubstring("contains a control character")))
	f.Expect(err).To(BeAssignableToTypeOf(&reason.SourceError{}))
	f.Expect(keys.HasKeys()).To(BeFalse())
}

func TestGlobalEndpointIsRefusedForAnotherRegion(t *testing.T) {
	for name, tc := range map[string]struct {
		endpoint, region string
		refused          bool
	}{
		"the global endpoint and another region":               {"https://sts.amazonaws.com", "eu-west-1", true},
		"the global endpoint with a path and another region":   {"https://sts.amazonaws.com/", "eu-west-1", true},
		"the global endpoint with its port and another region": {"https://STS.amazonaws.com.:443", "eu-west-1", true},
		"the global endpoint and its region":                   {"https://sts.amazonaws.com", "us-east-1", false},
		"an endpoint of a region":                              {"https://sts.eu-west-1.amazonaws.com", "eu-west-1", false},
		"a VPC endpoint":                                       {"https://vpce-1.sts.eu-west-1.vpce.amazonaws.com", "eu-west-1", false},
		"a server that is not AWS":                             {"https://sts.amazonaws.com.example", "eu-west-1", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, key(goodID, goodSecret, ""))
			found := withKey(func(i *v1alpha1.ClusterIdentity) { i.Spec.Endpoint, i.Spec.Region = tc.endpoint, tc.region })
			f.exists(found)
			_, problem, err := f.resolver.ResolveObject(t.Context(), found, shopDefault)
			f.Expect(err).NotTo(HaveOccurred())
			if !tc.refused {
				f.Expect(problem).To(BeNil())
				return
			}
			f.Expect(problem).To(HaveField("Reason", v1alpha1.ReasonInvalidEndpoint))
			f.Expect(problem.Message).To(Equal("spec.endpoint is AWS's global endpoint, which accepts only signatures for the region us-east-1, and spec.region is eu-west-1. " +
				"Remove spec.endpoint to call STS in eu-west-1, or set spec.region to us-east-1."))
			f.Expect(f.connected).To(BeZero(), "STS is not called")
		})
	}
}
