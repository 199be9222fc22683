package stsemulator

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/logging"
)

const (
	signingAlgorithm  = "AWS4-HMAC-SHA256"
	signingService    = "sts"
	signingTerminator = "aws4_request"
	amzDate           = "20060102T150405Z"
	// signatureValidity is the tolerated difference between a signature's date and the server's clock.
	signatureValidity = 15 * time.Minute

	securityTokenHeader = "X-Amz-Security-Token"
)

var regions = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$`)

// scopes matches the regions in the scope of a signature.
var scopes = regexp.MustCompile(`^[\w.-]+$`)

// authorization is an Authorization header of Signature Version 4.
type authorization struct {
	algorithm                                      string
	accessKeyID, date, region, service, terminator string
	signedHeaders                                  string
	signature                                      string
}

// splitAuthorization returns the algorithm and the fields of an Authorization header.
func splitAuthorization(header string) (algorithm string, values map[string]string) {
	algorithm, fields, _ := strings.Cut(header, " ")
	values = map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		values[name] = value
	}
	return algorithm, values
}

// parseAuthorization reports missing parts with AWS's message.
func parseAuthorization(h http.Header) (authorization, error) {
	algorithm, values := splitAuthorization(h.Get("Authorization"))
	if !strings.HasPrefix(algorithm, "AWS4-") {
		return authorization{}, newError("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	var missing strings.Builder
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if values[name] == "" {
			missing.WriteString("Authorization header requires '" + name + "' parameter. ")
		}
	}
	if h.Get("X-Amz-Date") == "" {
		missing.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if missing.Len() > 0 {
		return authorization{}, newError("IncompleteSignature", "%sAuthorization=%s", missing.String(), algorithm)
	}
	if algorithm != signingAlgorithm {
		return authorization{}, newError("IncompleteSignature", "Unsupported AWS 'algorithm': '%s' (only %s for now). ", algorithm, signingAlgorithm)
	}
	scope := strings.Split(values["Credential"], "/")
	if len(scope) != 5 {
		return authorization{}, newError("IncompleteSignature",
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", values["Credential"])
	}
	return authorization{
		algorithm:   algorithm,
		accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3], terminator: scope[4],
		signedHeaders: values["SignedHeaders"], signature: values["Signature"],
	}, nil
}

// checkDate rejects a signature from too far in the past or the future.
func checkDate(date string, now time.Time) (time.Time, error) {
	signed, err := time.Parse(amzDate, date)
	if err != nil {
		return time.Time{}, newError("IncompleteSignature",
			"Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)
	}
	now = now.UTC()
	if limit := now.Add(-signatureValidity); signed.Before(limit) {
		return time.Time{}, newError("SignatureDoesNotMatch", "Signature expired: %s is now earlier than %s (%s - 15 min.)",
			date, limit.Format(amzDate), now.Format(amzDate))
	}
	if limit := now.Add(signatureValidity); signed.After(limit) {
		return time.Time{}, newError("SignatureDoesNotMatch", "Signature not yet current: %s is still later than %s (%s + 15 min.)",
			date, limit.Format(amzDate), now.Format(amzDate))
	}
	return signed, nil
}

// checkScope rejects a credential scope of another server. A server without a region accepts all regions.
func (a authorization) checkScope(signed time.Time, region string) error {
	var wrong []string
	valid := a.region == region
	if region == "" {
		valid = regions.MatchString(a.region)
	}
	if !valid {
		wrong = append(wrong, "Credential should be scoped to a valid region. ")
	}
	if a.service != signingService {
		wrong = append(wrong, "Credential should be scoped to correct service: '"+signingService+"'. ")
	}
	if a.terminator != signingTerminator {
		wrong = append(wrong, "Credential should be scoped with a valid terminator: '"+signingTerminator+"', not '"+a.terminator+"'. ")
	}
	if day := signed.Format("20060102"); a.date != day {
		wrong = append(wrong, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+
			a.date+"' != '"+day+"', from '"+signed.Format(amzDate)+"'.")
	}
	if len(wrong) > 0 {
		return newError("SignatureDoesNotMatch", "%s", strings.Join(wrong, ""))
	}
	if !slices.Contains(strings.Split(a.signedHeaders, ";"), "host") {
		return newError("SignatureDoesNotMatch", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

// checkSignature signs the request again, with the signed headers and the received body, and compares. Like AWS's, its error contains the
// whole canonical request, with the session token.
func (a authorization) checkSignature(r *http.Request, body []byte, secret string, signed time.Time) error {
	again := &http.Request{
		Method: r.Method,
		Host:   r.Host,
		URL:    &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
		Header: http.Header{},
	}
	if r.TLS != nil {
		again.URL.Scheme = "https"
	}
	for name := range strings.SplitSeq(a.signedHeaders, ";") {
		switch name = http.CanonicalHeaderKey(name); name {
		case "Host":
		case "Content-Length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[name] = slices.Clone(r.Header[name])
		}
	}
	var log signingLog
	hash := sha256.Sum256(body)
	err := v4.NewSigner().SignHTTP(r.Context(),
		aws.Credentials{AccessKeyID: a.accessKeyID, SecretAccessKey: secret, SessionToken: r.Header.Get(securityTokenHeader)},
		again, hex.EncodeToString(hash[:]), a.service, a.region, signed,
		func(o *v4.SignerOptions) { o.LogSigning, o.Logger = true, &log })
	if err != nil {
		return newError("InternalFailure", "%s", defaultMessages["InternalFailure"])
	}
	want, err := parseAuthorization(again.Header)
	if err == nil && subtle.ConstantTimeCompare([]byte(want.signature), []byte(a.signature)) == 1 {
		return nil
	}
	return newError("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n"+
		"The Canonical String for this request should have been\n'%s'\n\nThe String-to-Sign should have been\n'%s'\n",
		log.canonicalString, log.stringToSign)
}

// signingLog receives the canonical request, which the SDK's signer only logs.
type signingLog struct{ canonicalString, stringToSign string }

func (l *signingLog) Logf(_ logging.Classification, _ string, args ...any) {
	if len(args) >= 2 {
		l.canonicalString, _ = args[0].(string)
		l.stringToSign, _ = args[1].(string)
	}
}

// authenticate returns the caller that signed a request.
func (s *Server) authenticate(r *http.Request, auth authorization, body []byte) (principal, error) {
	date := r.Header.Get("X-Amz-Date")
	signed, err := checkDate(date, s.options.SignatureClock.Now())
	if err != nil {
		return principal{}, err
	}
	if err := auth.checkScope(signed, s.options.Region); err != nil {
		return principal{}, err
	}
	token := r.Header.Get(securityTokenHeader)
	if key, user, ok := s.iam.userOf(auth.accessKeyID); ok {
		if err := auth.checkSignature(r, body, key.Secret, signed); err != nil {
			return principal{}, err
		}
		if token != "" {
			return principal{}, newError("InvalidClientTokenId", messageInvalidToken)
		}
		return user, nil
	}
	session, ok := s.sessions.find(auth.accessKeyID)
	if !ok {
		return principal{}, newError("InvalidClientTokenId", messageInvalidToken)
	}
	if err := auth.checkSignature(r, body, session.secret, signed); err != nil {
		return principal{}, err
	}
	if !session.hasToken(token) {
		return principal{}, newError("InvalidClientTokenId", messageInvalidToken)
	}
	if !s.options.Clock.Now().Before(session.Expiration) {
		return principal{}, newError("ExpiredToken", messageExpiredToken)
	}
	return session.principal, nil
}
