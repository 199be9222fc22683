package main

import (
	"context"
	"path/filepath"
	"time"
)

// scenarios run in this order. Each leaves its workloads running, so that the later ones test them too.
var scenarios = []scenario{
	{name: "kubectl apply -k installs the operator", run: (*environment).installByKustomize, needed: true},
	{name: "the managers are confined", run: (*environment).managersAreConfined},
	{name: "a Pod starts with credentials in its environment", run: (*environment).podStarts},
	{name: "a Pod that waits for its Secret starts once it exists", run: (*environment).podWaits},
	{name: "three restarts after refreshes lose no call", run: (*environment).restartsAfterRefresh},
	{name: "three refreshes of a mounted Secret lose no call, without a restart", run: (*environment).refreshesInVolume},
	{name: "after a kill of the leader, another process leads", run: (*environment).leaderIsKilled},
	{name: "after a hang of the leader, the other manager leads, and the former leader exits", run: (*environment).leaderHangs},
	{name: "a credential is refreshed on schedule", run: (*environment).scheduledRefresh},
	{name: "the Secret of a deleted credential is deleted", run: (*environment).secretIsCollected},
	{name: soak, run: (*environment).runSoak},
	{name: "all clients exit, and none has lost a call", run: (*environment).clientsExit},
	{name: "kubectl delete -k leaves no object", run: (*environment).uninstallByKustomize, needed: true},
	{name: "helm installs the operator for one namespace", run: (*environment).installByHelm, needed: true},
	{name: "helm uninstall leaves no object", run: (*environment).uninstallByHelm},
}

// soak is the scenario that lasts for E2E_SOAK, and is skipped without it.
const soak = "clients run over real expiries"

const (
	operatorNamespace = "rolecredential-system"
	namespace         = "shop"
	// settleTimeout bounds steps that take seconds. No measurement depends on it.
	settleTimeout = 90 * time.Second
	refreshes     = 3
)

func manifest(name string) string { return filepath.Join("hack", "e2e", "manifests", name) }

// apply applies a manifest with kubectl.
func (w *environment) apply(ctx context.Context, name string) error {
	_, err := w.kubectl(ctx, "apply", "-f", manifest(name))
	return err
}
