// Package usage reads the CPU time and the memory of processes from /proc. It works on Linux only.
package usage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of CPU time in /proc on every Linux that Go runs on (USER_HZ).
const ticksPerSecond = 100

// CPU returns the CPU time that a process has used.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The program's name, in parentheses, may contain spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %q %q", pid, fields[11], fields[12])
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}

// Resident is a process's resident set in bytes: now, the peak since its start, and the part that holds pages of files, which the kernel can
// drop.
type Resident struct{ Now, Peak, Files float64 }

// Memory returns a process's resident set.
func Memory(pid int) (Resident, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Resident{}, err
	}
	bytesOf := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == "kB" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return Resident{}, err
			}
			bytesOf[fields[0]] = kilobytes * 1024
		}
	}
	return Resident{Now: bytesOf["VmRSS:"], Peak: bytesOf["VmHWM:"], Files: bytesOf["RssFile:"]}, nil
}
