//! A trace and what policies made of it, as an SVG.
//!
//! ```text
//!   arriving rows (area), capacity of each policy's units (lines)
//!   lag of each policy (lines), objective (dashed)
//! ```
//!
//! Colours follow the viewer's light or dark scheme; each line also has its own dashes, so that the chart is readable
//! without colours.

use std::fmt::Write as _;

use super::{Outcome, Trace, World};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const PANEL: f64 = 210.0;
const TOP: f64 = 56.0;
const GAP: f64 = 44.0;

/// Points of a line at most: more than the pixels that it has would only make the file larger.
const POINTS_MAX: usize = 800;

/// Dashes of the lines, in the order of the outcomes.
const DASHES: [&str; 5] = ["", "7 3", "2 3", "10 3 2 3", "4 4"];

const STYLE: &str = "\
svg{--ink:#1c2330;--soft:#5b6475;--grid:#d9dee8;--back:#ffffff;--load:#c9d3e6;--l0:#0a5bd3;--l1:#0f8a4b;--l2:#8a3ffc;--l3:#b3470a;--l4:#a11f63}
@media(prefers-color-scheme:dark){svg{--ink:#e8ecf4;--soft:#a3adbf;--grid:#333c4d;--back:#12161f;--load:#2d3a52;--l0:#6db0ff;--l1:#5fd694;--l2:#c4a1ff;--l3:#ffab6b;--l4:#ff8fc4}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.soft{fill:var(--soft)}.grid{stroke:var(--grid);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.load{fill:var(--load)}
.l0{stroke:var(--l0);stroke-width:2.4}.l1{stroke:var(--l1)}.l2{stroke:var(--l2)}.l3{stroke:var(--l3)}.l4{stroke:var(--l4)}";

/// Where a panel stands and what its height means.
struct Panel {
    top: f64,
    most: f64,
    seconds: usize,
}

impl Panel {
    fn x(&self, second: usize) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * second as f64 / self.seconds.max(1) as f64
    }

    fn y(&self, value: f64) -> f64 {
        self.top + PANEL * (1.0 - (value / self.most).min(1.0))
    }

    /// Points of a line: the highest value of each group of seconds.
    fn points(&self, values: impl ExactSizeIterator<Item = f64>) -> String {
        let each = values.len().div_ceil(POINTS_MAX).max(1);
        let values: Vec<f64> = values.collect();
        let mut text = String::new();
        for (index, group) in values.chunks(each).enumerate() {
            let highest = group.iter().copied().fold(0.0, f64::max);
            let _ = write!(text, "{:.1},{:.1} ", self.x(index * each), self.y(highest));
        }
        text
    }

    fn frame(&self, svg: &mut String, title: &str, unit: &str) {
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\" class=\"soft\">{title}</text>", self.top - 8.0);
        for part in 0..=4 {
            let value = self.most * f64::from(part) / 4.0;
            let y = self.y(value);
            let _ = writeln!(svg, "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" class=\"grid\"/>", WIDTH - RIGHT);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"soft\">{value:.0}{unit}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for part in 0..=6 {
            let second = self.seconds * part / 6;
            let (x, y) = (self.x(second), self.top + PANEL + 15.0);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" class=\"soft\">{}</text>", clock(second));
        }
    }
}

/// Hours and minutes.
fn clock(second: usize) -> String {
    format!("{}:{:02}", second / 3_600, second / 60 % 60)
}

/// Text within an SVG.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The chart of a trace; at most five outcomes are shown.
pub fn chart(trace: &Trace, world: &World, outcomes: &[Outcome]) -> String {
    let outcomes = &outcomes[..outcomes.len().min(DASHES.len())];
    let seconds = trace.rows.len();
    let units_max = outcomes.iter().flat_map(|outcome| &outcome.units).copied().max().unwrap_or(1).max(1);
    let load = trace.rows.iter().map(|rows| rows / world.rows_per_unit);
    let most = load.clone().fold(f64::from(units_max), f64::max);
    let objective = world.objective.max_lag_seconds();
    // Four grid lines at whole units.
    let units_panel = Panel { top: TOP, most: (most / 4.0).ceil() * 4.0, seconds };
    let lag_panel = Panel { top: TOP + PANEL + GAP, most: objective * 4.0, seconds };
    let height = lag_panel.top + PANEL + 28.0;

    let mut svg = String::new();
    let name = escaped(&trace.name);
    let _ = writeln!(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{name}\">");
    let _ = writeln!(svg, "<title>{name}: units and lag by policy</title><style>{STYLE}</style>");
    let _ = writeln!(svg, "<rect width=\"{WIDTH}\" height=\"{height}\" style=\"fill:var(--back)\"/>");
    for (index, outcome) in outcomes.iter().enumerate() {
        let x = LEFT + index as f64 * 172.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"16\" y2=\"16\" class=\"line l{index}\" stroke-dasharray=\"{}\"/>",
            x + 26.0,
            DASHES[index]
        );
        let _ = writeln!(svg, "<text x=\"{}\" y=\"20\">{}</text>", x + 32.0, escaped(outcome.policy));
    }
    units_panel.frame(&mut svg, &format!("{name}: units; shaded: what arrives, in units of {:.0} rows/s", world.rows_per_unit), "");
    let area = units_panel.points(load.collect::<Vec<_>>().into_iter());
    let bottom = units_panel.y(0.0);
    let _ = writeln!(svg, "<polygon class=\"load\" points=\"{LEFT},{bottom:.1} {area}{:.1},{bottom:.1}\"/>", units_panel.x(seconds));
    lag_panel.frame(&mut svg, &format!("lag; cut at four times the objective of {objective:.0} s"), " s");
    let y = lag_panel.y(objective);
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke-dasharray=\"3 3\" style=\"stroke:var(--ink)\"/>",
        WIDTH - RIGHT
    );
    // The first outcome is drawn last, over the others.
    for (index, outcome) in outcomes.iter().enumerate().rev() {
        for points in
            [units_panel.points(outcome.units.iter().map(|units| f64::from(*units))), lag_panel.points(outcome.lag_seconds.iter().copied())]
        {
            let _ = writeln!(svg, "<polyline class=\"line l{index}\" stroke-dasharray=\"{}\" points=\"{points}\"/>", DASHES[index]);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::compare;
    use crate::{Objective, UnitBounds};

    #[test]
    fn a_chart_shows_every_policy_and_stays_small() {
        let world = World::new(UnitBounds::new(0, 16).unwrap(), Objective::default());
        let mut trace = Trace::rare_bursts();
        trace.name = "a <b> & c".to_owned();
        let outcomes = compare(&trace, &world);
        let svg = chart(&trace, &world, &outcomes);
        assert!(outcomes.iter().all(|outcome| svg.contains(outcome.policy)));
        assert!(svg.contains("a &lt;b&gt; &amp; c") && !svg.contains("<b>"));
        assert!(svg.len() < 200_000, "{} bytes", svg.len());
        assert_eq!(svg.matches("<polyline").count(), 2 * outcomes.len());
    }
}
