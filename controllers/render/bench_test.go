package render_test

import (
	"fmt"
	"strings"
	"testing"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/render"
)

// costly has the longest data that the schema accepts, with templates that only call functions.
func costly() v1alpha1.SecretTemplate {
	text := "{{if print" + strings.Repeat(" .SessionToken", 8) + strings.Repeat("|upper|lower", 330) + "}}{{end}}"
	data := map[string]v1alpha1.DataTemplate{}
	for i := range 16 {
		data[fmt.Sprint(i)] = v1alpha1.DataTemplate(text)
	}
	return v1alpha1.SecretTemplate{Data: data}
}

// ordinary has the data of a credentials file.
func ordinary() v1alpha1.SecretTemplate {
	return v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{
		"rclone.conf": "[s3]\naccess_key_id = {{.AccessKeyID}}\nsecret_access_key = {{.SecretAccessKey}}\nsession_token = {{.SessionToken}}\n",
	}}
}

// BenchmarkCheck measures what the templates of a credential cost each reconcile that issues nothing.
func BenchmarkCheck(b *testing.B) {
	for name, template := range map[string]v1alpha1.SecretTemplate{"costly": costly(), "ordinary": ordinary()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = render.Check(template)
			}
		})
	}
}
