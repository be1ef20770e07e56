package e2e
import ("testing";"time")
func TestZZPlan(t *testing.T) {
	from := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	n := map[string]int{}; c := map[string]int{}; total := 0
	for _, p := range populate(1000, 2027, from, from.AddDate(1,0,0)) { c[p.pattern]++; for _, d := range p.plan { if d.do == "connect" { n[p.pattern]++; total++ } } }
	for _, k := range patterns { t.Log(k.name, c[k.name], n[k.name]) }
	t.Log(total)
}
