// Command client is a workload: it lists a bucket again and again, with the AWS SDK as any program uses it, and reports each
// call. What it is to do is in its environment; how it gets at its credentials is the SDK's business.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rolecredential.dev/operator/hack/e2e/tally"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// interval is between two calls.
const interval = 50 * time.Millisecond

// run calls until it is told to end. A call that is under way then is ended in good order.
func run(ctx context.Context) error {
	options := []func(*config.LoadOptions) error{}
	// The SDK asks for credentials anew when they are this close to their end.
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
		o.Retryer = aws.NopRetryer{} // no failure is to be hidden
	})
	for call := 1; ; call++ {
		report := list(context.WithoutCancel(ctx), settings, api)
		report.Workload, report.Pod, report.Call = os.Getenv("WORKLOAD"), os.Getenv("POD"), call
		report.Last = ctx.Err() != nil
		if err := send(report); err != nil || report.Last {
			return err
		}
		select {
		case <-ctx.Done(): // one more, which is the last
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

// send reports a call, and does not give up easily: one that is not reported counts as lost.
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
