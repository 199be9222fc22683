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
	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/stsemulator"
)

// demo is a running demo.
type demo struct {
	out         io.Writer
	managerPath string
	// assets is the folder of etcd, kube-apiserver and kubectl.
	assets string
	// dir is the temporary folder of all files.
	dir        string
	managerLog string
	// lifetimeFraction shortens sessions: a session lasts this fraction of its duration.
	lifetimeFraction float64

	*cluster.Cluster
	sts      *stsemulator.Server
	endpoint *stsemulator.Endpoint
	// abort stops the demo with a cause.
	abort    context.CancelCauseFunc
	cleanups program.Cleanups
}

func newDemo(managerPath string) (*demo, error) {
	if _, err := os.Stat(filepath.Join("config", "default")); err != nil {
		return nil, errors.New("not in the repository's root: run `make demo` there")
	}
	if _, err := exec.LookPath(managerPath); err != nil {
		return nil, fmt.Errorf("cannot find the manager: %w: run `make build`", err)
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
	d.cleanups.Add(func() error { return os.RemoveAll(dir) })
	return d, nil
}

// startCluster starts etcd and kube-apiserver.
func (d *demo) startCluster() (err error) {
	d.Cluster, err = cluster.Start(d.assets, d.dir)
	d.cleanups.Add(d.Close)
	return err
}

// lifetimeFraction shortens an hour to 30 seconds.
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
	d.cleanups.Add(d.endpoint.Close)
	return nil
}

// startManager starts the manager. If the manager exits, it aborts the demo.
func (d *demo) startManager(kubeconfig string) error {
	manager, err := d.StartManager(d.managerLog, nil, d.managerPath, kubeconfig)
	if err != nil {
		return err
	}
	go func() {
		<-manager.Exited()
		d.abort(fmt.Errorf("the manager exited: %s", manager.State()))
	}()
	d.cleanups.Add(manager.Stop)
	return nil
}
