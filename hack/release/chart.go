package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// chartName is the name in Chart.yaml.
const chartName = "rolecredential"

// packChart writes the chart in dir as `helm package` does, but without times. The chart gets the version, and installs the image.
func packChart(dir, out, version, image string) error {
	if err := validVersion("v" + version); err != nil {
		return err
	}
	repository, tag, ok := cutTag(image)
	if !ok {
		return fmt.Errorf("IMG is %q: want an image with a tag, such as registry.example.com/rolecredential:v0.1.0", image)
	}
	ignored, err := readIgnored(filepath.Join(dir, ".helmignore"))
	if err != nil {
		return err
	}
	files, err := filesOf(dir, chartName, ignored)
	if err != nil {
		return err
	}
	for name, replacements := range map[string][][2]string{
		"Chart.yaml":  {{`(?m)^version: .*$`, "version: " + version}, {`(?m)^appVersion: .*$`, fmt.Sprintf("appVersion: %q", tag)}},
		"values.yaml": {{`(?m)^  repository: rolecredential$`, "  repository: " + repository}},
	} {
		if err := replace(files, chartName+"/"+name, replacements); err != nil {
			return err
		}
	}
	packed, err := archive(files)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, chartFile(version)), packed, 0o644)
}

func chartFile(version string) string { return fmt.Sprintf("%s-%s.tgz", chartName, version) }

// cutTag splits an image's name. A colon before the last slash belongs to a port.
func cutTag(image string) (repository, tag string, ok bool) {
	at := strings.LastIndex(image, ":")
	if at < 1 || at == len(image)-1 || strings.Contains(image[at:], "/") || strings.Contains(image, "@") {
		return "", "", false
	}
	return image[:at], image[at+1:], true
}

// readIgnored returns the patterns of a .helmignore, each of which matches the name of a file.
func readIgnored(path string) (patterns []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			patterns = append(patterns, line)
		}
	}
	return patterns, nil
}

// filesOf returns the files of a folder in alphabetical order. It follows symbolic links.
func filesOf(dir, prefix string, ignored []string) (files []file, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		from, name := filepath.Join(dir, entry.Name()), path.Join(prefix, entry.Name())
		if skip, err := matchesAny(ignored, entry.Name()); err != nil || skip {
			if err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(from)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			inner, err := filesOf(from, name, ignored)
			if err != nil {
				return nil, err
			}
			files = append(files, inner...)
			continue
		}
		content, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, 0o644, content})
	}
	return files, nil
}

func matchesAny(patterns []string, name string) (bool, error) {
	for _, pattern := range patterns {
		if matched, err := path.Match(pattern, name); matched || err != nil {
			return matched, err
		}
	}
	return false, nil
}

// replace replaces a regular expression's only match in a file.
func replace(files []file, name string, replacements [][2]string) error {
	for i := range files {
		if files[i].name != name {
			continue
		}
		for _, r := range replacements {
			pattern := regexp.MustCompile(r[0])
			if found := len(pattern.FindAll(files[i].content, -1)); found != 1 {
				return fmt.Errorf("%s has %d lines that match %s, want 1", name, found, r[0])
			}
			files[i].content = pattern.ReplaceAllLiteral(files[i].content, []byte(r[1]))
		}
		return nil
	}
	return fmt.Errorf("the chart has no %s", name)
}
