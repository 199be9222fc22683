package cli

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// maxVerbosity is the highest level of client-go's logs that holds no body of a request or an answer. Those of Secrets are among
// them, and would stand in a terminal's history and in the logs of a pipeline.
const maxVerbosity = 7

// verbosity is the flag -v, bounded.
type verbosity struct{ klog *flag.Flag }

func addVerbosity(flags *pflag.FlagSet) {
	all := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(all)
	// No other flag of klog's is taken: vmodule would raise the level past the bound.
	flags.VarP(verbosity{all.Lookup("v")}, "v", "v", fmt.Sprintf("log `level`; all above %d are taken for %[1]d, since client-go then logs Secrets", maxVerbosity))
}

func (v verbosity) String() string {
	if v.klog == nil {
		return "0"
	}
	return v.klog.Value.String()
}

// Set is of pflag.Value.
func (v verbosity) Set(text string) error {
	level, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	return v.klog.Value.Set(strconv.Itoa(min(level, maxVerbosity)))
}

// Type is of pflag.Value.
func (verbosity) Type() string { return "level" }
