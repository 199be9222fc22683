package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"rolecredential.dev/operator/hack/stsemulator"
)

// sts is the emulator, which is another process.
type sts struct{ url string }

func (s sts) fault(ctx context.Context, fault stsemulator.Fault) error {
	body, err := json.Marshal(fault)
	if err != nil {
		return err
	}
	_, err = ask(ctx, http.MethodPost, s.url+stsemulator.AdminPath+"faults", body)
	return err
}

func (s sts) clearFaults(ctx context.Context) error {
	_, err := ask(ctx, http.MethodDelete, s.url+stsemulator.AdminPath+"faults", nil)
	return err
}

// forget has the emulator forget the calls that it received.
func (s sts) forget(ctx context.Context) error {
	_, err := ask(ctx, http.MethodDelete, s.url+stsemulator.AdminPath+"calls", nil)
	return err
}

// issues are the calls for a credential that it received since.
func (s sts) issues(ctx context.Context) ([]stsemulator.Call, error) {
	body, err := get(ctx, s.url+stsemulator.AdminPath+"calls")
	if err != nil {
		return nil, err
	}
	var all, issues []stsemulator.Call
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	for _, call := range all {
		if call.Action == "AssumeRole" {
			issues = append(issues, call)
		}
	}
	return issues, nil
}

func get(ctx context.Context, url string) ([]byte, error) { return ask(ctx, http.MethodGet, url, nil) }

func ask(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, url, response.Status, answer)
	}
	return answer, err
}

// await looks until something is so, and fails if it is not within bounds. Its error is the cause of the context's end, if that ends first.
func await(ctx context.Context, bounds, every time.Duration, look func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, every, bounds, true, look)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
