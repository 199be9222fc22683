package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"rolecredential.dev/operator/hack/stsemulator"
)

// sts is the emulator, a process of its own.
type sts struct{ url string }

func (s sts) fault(ctx context.Context, fault stsemulator.Fault) error {
	body, err := json.Marshal(fault)
	if err != nil {
		return err
	}
	_, err = send(ctx, http.MethodPost, s.url+stsemulator.AdminPath+"faults", body)
	return err
}

func (s sts) clearFaults(ctx context.Context) error {
	_, err := send(ctx, http.MethodDelete, s.url+stsemulator.AdminPath+"faults", nil)
	return err
}

// resetCalls deletes the emulator's record of calls.
func (s sts) resetCalls(ctx context.Context) error {
	_, err := send(ctx, http.MethodDelete, s.url+stsemulator.AdminPath+"calls", nil)
	return err
}

// issues returns the recorded calls of AssumeRole.
func (s sts) issues(ctx context.Context) ([]stsemulator.Call, error) {
	all, err := stsemulator.FetchCalls(ctx, httpClient, s.url)
	if err != nil {
		return nil, err
	}
	var issues []stsemulator.Call
	for _, call := range all {
		if call.Action == "AssumeRole" {
			issues = append(issues, call)
		}
	}
	return issues, nil
}

func get(ctx context.Context, url string) ([]byte, error) { return send(ctx, http.MethodGet, url, nil) }

func send(ctx context.Context, method, url string, body []byte) ([]byte, error) {
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
