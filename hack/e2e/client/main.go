// Command client is a workload: it lists a bucket repeatedly with the AWS SDK, and reports each call. Its settings are in its environment.
// The SDK finds the credentials by itself.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rolecredential.dev/operator/hack/e2e/tally"
	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("client", func(ctx context.Context, _ []string) error { return run(ctx) })
}

// interval is the time between two calls.
const interval = 50 * time.Millisecond

// run calls until a signal. It finishes the call in flight, and one more, which it reports as the last.
func run(ctx context.Context) error {
	options := []func(*config.LoadOptions) error{}
	// The SDK refreshes credentials this long before they expire.
	if text := os.Getenv("EXPIRY_WINDOW"); text != "" {
		window, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		options = append(options, config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = window }))
	}
	settings, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return err
	}
	api := s3.NewFromConfig(settings, func(o *s3.Options) {
		o.UsePathStyle = true
		o.Retryer = aws.NopRetryer{} // a retry would hide a failure
	})
	for call := 1; ; call++ {
		report := list(context.WithoutCancel(ctx), settings, api)
		report.Workload, report.Pod, report.Call = os.Getenv("WORKLOAD"), os.Getenv("POD"), call
		report.Last = ctx.Err() != nil
		if err := send(report); err != nil || report.Last {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
}

func list(ctx context.Context, settings aws.Config, api *s3.Client) tally.Report {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	keys, err := settings.Credentials.Retrieve(ctx)
	if err == nil {
		_, err = api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(os.Getenv("BUCKET"))})
	}
	report := tally.Report{AccessKeyID: keys.AccessKeyID}
	if err != nil {
		report.Error = err.Error()
		fmt.Fprintln(os.Stderr, err)
	}
	return report
}

// send reports a call. It retries for seconds, since an unreported call counts as lost.
func send(report tally.Report) error {
	body, err := json.Marshal(report)
	if err != nil {
		return err
	}
	for range 50 {
		var response *http.Response
		response, err = http.Post(os.Getenv("REPORT_TO"), "application/json", bytes.NewReader(body))
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("reporting call %d: %w", report.Call, err)
}
