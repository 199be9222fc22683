package main

// The parts of Grafana's dashboard model that this program uses ('Dashboard JSON model' of Grafana's documentation).

type model struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Editable      bool       `json:"editable"`
	Refresh       string     `json:"refresh"`
	Time          span       `json:"time"`
	Templating    templating `json:"templating"`
	Panels        []element  `json:"panels"`
}

type span struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []variable `json:"list"`
}

type variable struct {
	Name       string  `json:"name"`
	Label      string  `json:"label"`
	Type       string  `json:"type"`
	Query      string  `json:"query"`
	Datasource *source `json:"datasource,omitempty"`
	Refresh    int     `json:"refresh,omitempty"`
	IncludeAll bool    `json:"includeAll,omitempty"`
	Multi      bool    `json:"multi,omitempty"`
	AllValue   string  `json:"allValue,omitempty"`
	Current    *choice `json:"current,omitempty"`
}

type choice struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type element struct {
	ID          int      `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Position    position `json:"gridPos"`
	Datasource  *source  `json:"datasource,omitempty"`
	Fields      *fields  `json:"fieldConfig,omitempty"`
	Targets     []target `json:"targets,omitempty"`
}

type position struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

type fields struct {
	Defaults  defaults `json:"defaults"`
	Overrides []string `json:"overrides"`
}

type defaults struct {
	Unit string `json:"unit,omitempty"`
}

type target struct {
	RefID   string `json:"refId"`
	Expr    string `json:"expr"`
	Legend  string `json:"legendFormat"`
	Instant bool   `json:"instant,omitempty"`
	Format  string `json:"format,omitempty"`
}

// Sizes in the units of Grafana's grid, which is 24 wide.
const (
	gridWidth   = 24
	numberWidth = 4
	graphWidth  = 8
	tableWidth  = 12

	numberHeight = 4
	graphHeight  = 8
)

var prometheus = source{Type: "prometheus", UID: "${datasource}"}

// dashboard returns the dashboard with the rows below each other.
func dashboard(rows []row) model {
	d := model{
		UID: "rolecredential", Title: "RoleCredential", Description: "AWS credentials in Secrets, and the operator that refreshes them.", Tags: []string{"rolecredential", "aws"},
		SchemaVersion: 39, Editable: true, Refresh: "1m", Time: span{"now-6h", "now"},
		Templating: templating{[]variable{
			{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"},
			{
				Name: "namespace", Label: "Namespace", Type: "query", Query: "label_values(rolecredential_expiration_timestamp_seconds, namespace)",
				Datasource: &prometheus, Refresh: 2, IncludeAll: true, Multi: true, AllValue: ".*", Current: &choice{"All", "$__all"},
			},
		}},
	}
	id, y := 0, 0
	add := func(e element) {
		id++
		e.ID = id
		d.Panels = append(d.Panels, e)
	}
	for _, r := range rows {
		add(element{Type: "row", Title: r.title, Position: position{0, y, gridWidth, 1}})
		y++
		x, height := 0, 0
		for _, p := range r.panels {
			w, h := size(p.shape)
			if x+w > gridWidth {
				x, y, height = 0, y+height, 0
			}
			add(p.element(position{x, y, w, h}))
			x, height = x+w, max(height, h)
		}
		y += height
	}
	return d
}

func size(s shape) (w, h int) {
	switch s {
	case number:
		return numberWidth, numberHeight
	case list:
		return tableWidth, graphHeight
	default:
		return graphWidth, graphHeight
	}
}

func (p panel) element(at position) element {
	e := element{
		Type: string(p.shape), Title: p.title, Description: p.about, Position: at, Datasource: &prometheus,
		Fields: &fields{Defaults: defaults{Unit: p.unit}, Overrides: []string{}},
	}
	for i, q := range p.queries {
		t := target{RefID: string(rune('A' + i)), Expr: q.expr, Legend: q.legend, Instant: p.shape != graph}
		if p.shape == list {
			t.Format = "table"
		}
		e.Targets = append(e.Targets, t)
	}
	return e
}
