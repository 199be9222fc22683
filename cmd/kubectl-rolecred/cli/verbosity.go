package cli

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// maxVerbosity is the highest level at which client-go logs no request or response bodies. Bodies contain the data of Secrets, which
// must not get into a terminal's history or the logs of a pipeline.
const maxVerbosity = 7

// addVerbosity adds the flag -v, limited to maxVerbosity.
func addVerbosity(flags *pflag.FlagSet) {
	all := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(all)
	// Add no other flag of klog: vmodule would raise the level past the limit.
	flags.FuncP("v", "v", fmt.Sprintf("log `level`, at most %d: client-go logs Secrets at higher levels", maxVerbosity), func(text string) error {
		level, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		return all.Set("v", strconv.Itoa(min(level, maxVerbosity)))
	})
}
