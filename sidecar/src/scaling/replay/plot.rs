//! A replay as an SVG: instances over time, as it was and as it would have been.

use std::fmt::Write;

use millrace_kit::clock::UnixMillis;

use super::{Course, Outcome, Point};
use crate::model::time::rfc3339;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 40.0;
/// Lines of the grid at most.
const LINES: u32 = 8;

pub fn svg(group: &str, outcome: &Outcome) -> String {
    let courses = [&outcome.happened, &outcome.replayed];
    let most = courses.iter().flat_map(|course| &course.points).map(|point| point.instances).max();
    // A time before anything was decided is an empty plot with a sliver at its end.
    let first = courses.iter().filter_map(|course| course.points.first()).map(|point| point.at).min();
    let from = first.unwrap_or(outcome.from).max(outcome.from).min(outcome.to);
    let scale = Scale { from, to: outcome.to, most: most.unwrap_or(0).max(1) + 1 };
    let mut out = String::new();
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Instances of group {group} over time">
<style>svg{{background:#fff;color:#222}}.grid{{stroke:#ddd}}.was{{stroke:#888;stroke-dasharray:5 3}}.is{{stroke:#0b63c5}}text{{fill:currentColor}}
@media (prefers-color-scheme:dark){{svg{{background:#161616;color:#e4e4e4}}.grid{{stroke:#3a3a3a}}.was{{stroke:#9a9a9a}}.is{{stroke:#6cb0ff}}}}</style>
<text x="{LEFT}" y="20" font-size="14" font-weight="600">Instances of group {group}</text>
"##
    );
    let every = scale.most.div_ceil(LINES).max(1);
    for instances in (0..=scale.most).step_by(every as usize) {
        let y = scale.y(instances);
        let (right, base) = (WIDTH - RIGHT, y + 4.0);
        let _ = writeln!(out, r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#);
        let _ = writeln!(
            out,
            r#"<text x="{:.1}" y="{base:.1}" text-anchor="end">{instances}</text>"#,
            LEFT - 8.0
        );
    }
    for (part, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        let at = from + ((outcome.to - from) as f64 * part) as i64;
        let (x, y) = (scale.x(at), HEIGHT - BOTTOM + 20.0);
        let text = rfc3339(at / 1000 * 1000);
        let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
    }
    // What happened is dashed, and drawn last: where both are the same, both are seen.
    let legend = [
        ("is", "replay", &outcome.replayed, LEFT + 440.0),
        ("was", "what happened", &outcome.happened, LEFT),
    ];
    for (class, name, course, x) in legend {
        let path = path(&scale, course, outcome.to);
        let _ = writeln!(out, r#"<path class="{class}" d="{path}" fill="none" stroke-width="2"/>"#);
        let (end, text) = (x + 28.0, x + 36.0);
        let _ = writeln!(
            out,
            r#"<line class="{class}" x1="{x}" x2="{end}" y1="38" y2="38" stroke-width="2"/><text x="{text}" y="42">{name}: {:.2} instance-hours, {:.1} min over objective</text>"#,
            course.instance_hours, course.violated_minutes
        );
    }
    out.push_str("</svg>\n");
    out
}

struct Scale {
    from: UnixMillis,
    to: UnixMillis,
    most: u32,
}

impl Scale {
    fn x(&self, at: UnixMillis) -> f64 {
        let part = (at - self.from) as f64 / (self.to - self.from).max(1) as f64;
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, instances: u32) -> f64 {
        let part = f64::from(instances) / f64::from(self.most);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }
}

/// Steps, not slopes: there are no half instances.
fn path(scale: &Scale, course: &Course, to: UnixMillis) -> String {
    let mut path = String::new();
    for (index, Point { at, instances }) in course.points.iter().enumerate() {
        let (x, y) = (scale.x(*at), scale.y(*instances));
        let _ = match index {
            0 => write!(path, "M{x:.1} {y:.1}"),
            _ => write!(path, "H{x:.1}V{y:.1}"),
        };
    }
    if !path.is_empty() {
        let _ = write!(path, "H{:.1}", scale.x(to));
    }
    path
}
