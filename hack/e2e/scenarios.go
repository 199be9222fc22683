package main

import (
	"context"
	"path/filepath"
	"time"
)

// scenarios are all there is to see, in order: each leaves its workloads running, so that they go through those after it.
var scenarios = []scenario{
	{name: "kubectl apply -k installs the operator", see: (*world).installByKustomize, needed: true},
	{name: "the managers are confined", see: (*world).managersAreConfined},
	{name: "a Pod starts with credentials in its environment", see: (*world).podStarts},
	{name: "a Pod that waits for its Secret starts when there is one", see: (*world).podWaits},
	{name: "three restarts after refreshes lose no call", see: (*world).refreshesByRestart},
	{name: "three refreshes of a mounted Secret lose no call, with no restart", see: (*world).refreshesInVolume},
	{name: "a leader that is killed is followed by the other", see: (*world).leaderIsKilled},
	{name: "a leader that hangs is followed by the other, and ends itself", see: (*world).leaderHangs},
	{name: "a credential is refreshed in its own time", see: (*world).refreshInItsOwnTime},
	{name: "a credential that is deleted takes its Secret along", see: (*world).secretGoes},
	{name: soak, see: (*world).livesOn},
	{name: "all clients end, and none has lost a call", see: (*world).clientsEnd},
	{name: "kubectl delete -k leaves nothing behind", see: (*world).uninstallByKustomize, needed: true},
	{name: "helm installs the operator for one namespace", see: (*world).installByHelm, needed: true},
	{name: "helm uninstall leaves nothing behind", see: (*world).uninstallByHelm},
}

// soak is the scenario that takes as long as E2E_SOAK says, and is left out if it says nothing.
const soak = "clients live on in their own time"

const (
	operatorNamespace = "rolecredential-system"
	namespace         = "shop"
	// settle bounds what comes within seconds; nothing is measured by it.
	settle    = 90 * time.Second
	refreshes = 3
)

func manifest(name string) string { return filepath.Join("hack", "e2e", "manifests", name) }

// apply applies a manifest as users do.
func (w *world) apply(ctx context.Context, name string) error {
	_, err := w.kubectl(ctx, "apply", "-f", manifest(name))
	return err
}
