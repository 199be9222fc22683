// Command stsemulator serves an AWS Security Token Service for tests and demos.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/utils/clock"

	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/stsemulator"
)

func main() {
	program.Main("stsemulator", func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) })
}

type flags struct {
	config, address, urlFile, caFile string
	tls                              bool
	options                          stsemulator.Options
}

func parse(args []string) (flags, error) {
	f := flags{options: stsemulator.Options{Clock: clock.RealClock{}}}
	set := flag.NewFlagSet("stsemulator", flag.ContinueOnError)
	set.StringVar(&f.config, "config", "", "YAML `file` of accounts, users and roles (default: hack/stsemulator/default.yaml)")
	set.StringVar(&f.address, "address", "127.0.0.1:8090", "host:port to listen on; port 0 for a free one")
	set.StringVar(&f.urlFile, "url-file", "", "`file` to write the endpoint's URL to, once it serves")
	set.BoolVar(&f.tls, "tls", false, "serve over TLS")
	set.StringVar(&f.caFile, "ca-file", "", "`file` to write the CA bundle to, with --tls")
	set.Float64Var(&f.options.LifetimeFraction, "lifetime-fraction", 1, "the lifetime of sessions as a fraction of the requested duration, so that 0.01 gives 9s for 15m")
	set.IntVar(&f.options.SessionTokenSize, "session-token-size", 1024, "session token size in characters")
	set.StringVar(&f.options.Region, "region", "", "the only region to accept signatures for (default: any)")
	set.StringVar((*string)(&f.options.Flavour), "flavour", string(stsemulator.FlavourAWS), "server to emulate: aws or minio")
	if err := set.Parse(args); err != nil {
		return flags{}, err
	}
	if set.NArg() > 0 {
		return flags{}, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	return f, nil
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	f, err := parse(args)
	if err != nil {
		return err
	}
	cfg, err := stsemulator.DefaultConfig()
	if f.config != "" {
		cfg, err = stsemulator.LoadConfig(f.config)
	}
	if err != nil {
		return err
	}
	server, err := stsemulator.New(cfg, f.options)
	if err != nil {
		return err
	}
	start := server.Start
	if f.tls {
		start = server.StartTLS
	}
	endpoint, err := start(f.address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endpoint.Close()) }()
	if err := errors.Join(write(f.caFile, endpoint.CABundle), write(f.urlFile, []byte(endpoint.URL+"\n"))); err != nil {
		return err
	}
	fmt.Fprintf(out, "STS (%s) on %s, admin on %s%s\n", cmp.Or(f.options.Flavour, stsemulator.FlavourAWS), endpoint.URL, endpoint.URL, stsemulator.AdminPath)
	<-ctx.Done()
	return nil
}

// write writes a file under a temporary name and renames it, so that a reader never sees a part of it.
func write(file string, data []byte) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}
