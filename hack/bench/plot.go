package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// line is one line of a plot: a value for each number of credentials.
type line struct {
	name, colour string
	at           map[int]float64
}

const (
	width, height           = 640, 360
	left, right, top, below = 60, 150, 40, 50
)

// plots are SVG files, by name.
func (r *results) plots() map[string]string {
	of := func(side, name, colour string, quantity func(measurement) float64) line {
		l := line{name, colour, map[int]float64{}}
		for _, n := range r.sizes() {
			if found := r.of(side, n, quantity); len(found) > 0 {
				l.at[n] = found.median()
			}
		}
		return l
	}
	issue := func(m measurement) float64 { return m.Issue.PerSecond }
	refresh := func(m measurement) float64 { return m.Refresh.PerSecond }
	if len(r.of(sideOperator, r.sizes()[0], issue)) == 0 { // the limit alone is no picture
		return nil
	}
	return map[string]string{
		"throughput.svg": plot("Credentials a second", []line{
			of(sideRaw, "issue, limit", "#9ecae1", issue), of(sideOperator, "issue, operator", "#08519c", issue),
			of(sideRaw, "refresh, limit", "#fdae6b", refresh), of(sideOperator, "refresh, operator", "#a63603", refresh),
		}),
		"memory.svg": plot("Memory of the manager (RSS), MiB", []line{
			of(sideOperator, "at most", "#a63603", func(m measurement) float64 { return m.Held.PeakRSS / mebi }),
			of(sideOperator, "held", "#08519c", func(m measurement) float64 { return m.Held.RSS / mebi }),
			of(sideOperator, "after a restart", "#31a354", func(m measurement) float64 { return m.Restart.Held.RSS / mebi }),
		}),
		"cpu.svg": plot("CPU seconds of the manager per 1,000 credentials", []line{
			of(sideOperator, "issued", "#08519c", func(m measurement) float64 { return m.Issue.CPU["manager"] }),
			of(sideOperator, "refreshed", "#a63603", func(m measurement) float64 { return m.Refresh.CPU["manager"] }),
		}),
	}
}

// plot draws lines over the numbers of credentials, which are in logarithmic steps.
func plot(title string, lines []line) string {
	var sizes []int
	most := 0.0
	for _, l := range lines {
		for n, value := range l.at {
			if !slices.Contains(sizes, n) {
				sizes = append(sizes, n)
			}
			most = max(most, value)
		}
	}
	slices.Sort(sizes)
	most = max(most, 1)
	step := math.Pow(10, math.Floor(math.Log10(most)))
	if most/step < 3 {
		step /= 2
	}
	most = step * math.Ceil(most/step)
	least, span := math.Log(float64(sizes[0])), max(math.Log(float64(sizes[len(sizes)-1]))-math.Log(float64(sizes[0])), 1e-9)
	x := func(n int) float64 { return left + (width-left-right)*(math.Log(float64(n))-least)/span }
	y := func(value float64) float64 { return height - below - (height-top-below)*value/most }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/><text x="%d" y="22" font-size="14">%s</text>`+"\n", width, height, left, title)
	for value := 0.0; value <= most*1.001; value += step {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n", left, width-right, y(value), y(value), left-6, y(value)+4, value)
	}
	for _, n := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), height-below+18, n)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">credentials</text>`+"\n", left+(width-left-right)/2, height-10)
	for i, l := range lines {
		var points []string
		for _, n := range sizes {
			if value, ok := l.at[n]; ok {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(n), y(value)))
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(n), y(value), l.colour)
			}
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n",
			strings.Join(points, " "), l.colour, width-right+12, top+18*i+10, l.colour, l.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
