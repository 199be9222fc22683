package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/stsemulator"
)

// demo is all that runs, and what it takes to look at it.
type demo struct {
	out         io.Writer
	managerPath string
	// assets is the folder of etcd, kube-apiserver and kubectl.
	assets string
	// dir is the temporary folder that holds every file of the demo.
	dir        string
	managerLog string
	// lifetimeFraction is what of a session's lifetime is left of it here.
	lifetimeFraction float64

	*cluster.Cluster
	sts      *stsemulator.Server
	endpoint *stsemulator.Endpoint
	// abort ends the demo early, with the cause.
	abort context.CancelCauseFunc
	// ends are what is to be called in the end, the last first.
	ends []func() error
}

func newDemo(managerPath string) (*demo, error) {
	if _, err := os.Stat(filepath.Join("config", "default")); err != nil {
		return nil, errors.New("run the demo from the repository's root, best as `make demo`")
	}
	if _, err := exec.LookPath(managerPath); err != nil {
		return nil, fmt.Errorf("there is no manager to run: %w; `make build` makes it", err)
	}
	assets, err := cluster.Assets()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "rolecredential-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{
		out: os.Stdout, managerPath: managerPath, assets: assets, dir: dir,
		managerLog: filepath.Join(dir, "manager.log"),

		lifetimeFraction: lifetimeFraction,
	}
	d.finally(func() error { return os.RemoveAll(dir) })
	return d, nil
}

func (d *demo) finally(end func() error) { d.ends = append(d.ends, end) }

// close ends all that was started, in reverse.
func (d *demo) close() error {
	var errs []error
	for len(d.ends) > 0 {
		last := len(d.ends) - 1
		errs = append(errs, d.ends[last]())
		d.ends = d.ends[:last]
	}
	return errors.Join(errs...)
}

// startCluster starts etcd and kube-apiserver.
func (d *demo) startCluster() (err error) {
	d.Cluster, err = cluster.Start(d.assets, d.dir, false)
	d.finally(d.Close)
	return err
}

// lifetimeFraction makes an hour of 30 seconds.
const lifetimeFraction = 30.0 / 3600

// startSTS starts the emulator, in this process.
func (d *demo) startSTS() error {
	world, err := stsemulator.DefaultConfig()
	if err != nil {
		return err
	}
	if d.sts, err = stsemulator.New(world, stsemulator.Options{LifetimeFraction: d.lifetimeFraction}); err != nil {
		return err
	}
	if d.endpoint, err = d.sts.Start(""); err != nil {
		return err
	}
	d.finally(d.endpoint.Close)
	return nil
}

// startManager starts the manager. Should it end before the demo, it takes the demo along.
func (d *demo) startManager(kubeconfig string) error {
	manager, err := d.StartProcess(d.managerLog, nil, d.managerPath,
		"--kubeconfig="+kubeconfig,
		"--leader-elect", "--leader-election-namespace="+cluster.OperatorNamespace,
		"--health-probe-bind-address=0",
	)
	if err != nil {
		return err
	}
	go func() {
		<-manager.Ended()
		d.abort(fmt.Errorf("the manager ended: %s", manager.State()))
	}()
	d.finally(manager.End)
	return nil
}
