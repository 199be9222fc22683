package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

// Formats of a report.
const (
	formatJSON = "json"
	formatYAML = "yaml"
	formatWide = "wide"
	// Formats of policies.
	formatTerraform      = "terraform"
	formatCloudFormation = "cloudformation"
)

// outputFlag is the flag -o of a command that writes a report.
type outputFlag struct {
	format  string
	allowed []string
}

func addOutput(cmd *cobra.Command, allowed ...string) *outputFlag {
	o := &outputFlag{allowed: allowed}
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "output `format`: "+strings.Join(allowed, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return o
}

// write writes a report in the format of the flag. Without one, or for wide, it calls text.
func (p *plugin) write(o *outputFlag, report any, text func(*term.Printer)) error {
	if o.format != "" && !slices.Contains(o.allowed, o.format) {
		return fmt.Errorf("unknown output format %s: use one of %s", o.format, strings.Join(o.allowed, ", "))
	}
	switch o.format {
	case formatJSON:
		encoder := json.NewEncoder(p.Out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "    ")
		return encoder.Encode(report)
	case formatYAML:
		written, err := yaml.Marshal(report)
		if err != nil {
			return err
		}
		_, err = p.Out.Write(written)
		return err
	default:
		text(p.printer())
		return nil
	}
}
