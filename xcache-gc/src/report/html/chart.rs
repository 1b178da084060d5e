//! Charts as inline SVG: areas over time, and bars.
//!
//! The drawing is stretched to the width of the page, so it holds no text: labels are HTML next to it, and keep their size
//! on a telephone. What a chart shows is also in a table, which is what a screen reader reads.

use chrono::{DateTime, TimeDelta, Utc};
use xcache_cli::report::human::Bytes;

use super::markup::Markup;

/// The drawing is that wide and high, in its own units.
const WIDTH: u64 = 1000;
const HEIGHT: u64 = 200;

/// One area of a stack: the class that colours it, its name, and a value for each period.
pub(super) struct Series {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) values: Vec<u64>,
}

/// Areas over time, stacked.
pub(super) struct Areas<'a> {
    /// Unique on the page, for what refers to it.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What a screen reader says in place of the picture.
    pub(super) description: String,
    pub(super) times: &'a [DateTime<Utc>],
    pub(super) series: Vec<Series>,
}

impl Areas<'_> {
    /// The chart with its legend and axes. There must be a period.
    pub(super) fn draw(&self) -> Markup {
        let mut html = Markup::new();
        html.raw("<div class=\"chart\"><div class=\"chart-head\"><h3>").text(self.title).raw("</h3>");
        if self.series.len() > 1 {
            html.raw("<ul class=\"legend\">");
            for series in &self.series {
                html.raw("<li><span class=\"swatch ")
                    .raw(series.class)
                    .raw("\"></span>")
                    .text(series.name)
                    .raw("</li>");
            }
            html.raw("</ul>");
        }
        let top = self.top();
        html.raw("</div><div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">");
        for n in (0..=top.ticks).rev() {
            html.raw("<span>").text(Tick(top.step * n)).raw("</span>");
        }
        html.raw("</div>").append(&self.svg(&top));
        html.raw("<div class=\"x\" aria-hidden=\"true\">");
        for time in self.labels() {
            html.raw("<span>").text(time).raw("</span>");
        }
        html.raw("</div></div></div>");
        html
    }

    fn svg(&self, top: &Scale) -> Markup {
        let mut svg = Markup::new();
        svg.raw("<svg viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"");
        svg.text(self.id).raw("-t ").text(self.id).raw("-d\"><title id=\"").text(self.id).raw("-t\">");
        svg.text(self.title).raw("</title><desc id=\"").text(self.id).raw("-d\">").text(&self.description);
        svg.raw("</desc>");
        for n in 0..=top.ticks {
            let y = HEIGHT - HEIGHT * n / top.ticks;
            svg.raw("<path class=\"grid\" d=\"M0 ").text(y).raw("H1000\"/>");
        }
        let mut below = vec![0; self.times.len()];
        for series in &self.series {
            let above: Vec<u64> = below.iter().zip(&series.values).map(|(below, value)| below + value).collect();
            svg.raw("<path class=\"area ").raw(series.class).raw("\" d=\"").append(&outline(&above, &below, top));
            svg.raw("\"/><path class=\"edge ").raw(series.class).raw("\" d=\"M");
            svg.append(&line(&above, top, false)).raw("\"/>");
            below = above;
        }
        svg.raw("</svg>");
        svg
    }

    fn top(&self) -> Scale {
        let sums = (0..self.times.len()).map(|n| self.series.iter().map(|series| series.values[n]).sum());
        Scale::up_to(sums.max().unwrap_or_default())
    }

    /// The first, the middle and the last moment.
    fn labels(&self) -> Vec<String> {
        let (Some(&first), Some(&last)) = (self.times.first(), self.times.last()) else { return Vec::new() };
        let form = if last - first < TimeDelta::days(2) { "%-d %b %H:%M" } else { "%-d %b %Y" };
        let mut labels = vec![first, first + (last - first) / 2, last];
        labels.dedup();
        labels.into_iter().map(|time| time.format(form).to_string()).collect()
    }
}

/// The line of `values`, from left to right or back.
fn line(values: &[u64], top: &Scale, is_back: bool) -> Markup {
    let mut path = Markup::new();
    // A single value is a level line.
    let values = if let [only] = values { vec![*only; 2] } else { values.to_vec() };
    let last = values.len().saturating_sub(1).max(1) as u64;
    let points: Vec<(u64, u64)> = (0..).zip(&values).map(|(n, &value)| (WIDTH * n / last, top.y(value))).collect();
    let mut place = |&(x, y): &(u64, u64)| {
        path.text(x).raw(" ").text(y / 10).raw(".").text(y % 10).raw(" ");
    };
    if is_back {
        points.iter().rev().for_each(&mut place)
    } else {
        points.iter().for_each(&mut place)
    }
    path
}

fn outline(above: &[u64], below: &[u64], top: &Scale) -> Markup {
    let mut path = Markup::new();
    path.raw("M").append(&line(above, top, false)).append(&line(below, top, true)).raw("Z");
    path
}

/// The axis of a chart: round numbers from zero to above the largest value.
#[derive(Debug, PartialEq, Eq)]
struct Scale {
    step: u64,
    ticks: u64,
}

impl Scale {
    fn up_to(max: u64) -> Self {
        // 1, 2 and 5, 10, 20, 50, 100, 200 and 500 of each unit.
        let units = (0..6).map(|n| 1_u64 << (10 * n));
        let steps = units.flat_map(|unit| [1, 2, 5, 10, 20, 50, 100, 200, 500].map(|n| n * unit));
        let step = steps.into_iter().find(|step| max.div_ceil(*step) <= 4).unwrap_or(1 << 62);
        Self { step, ticks: max.div_ceil(step).max(1) }
    }

    /// Tenths of units from the top edge.
    fn y(&self, value: u64) -> u64 {
        let full = u128::from(self.step) * u128::from(self.ticks);
        let height = u128::from(HEIGHT) * 10;
        let up = u128::from(value) * height / full;
        u64::try_from(height.saturating_sub(up)).unwrap_or_default()
    }
}

/// A label of an axis: a size without decimals.
struct Tick(u64);

impl std::fmt::Display for Tick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Bytes(self.0).to_string().replace(".0 ", " "))
    }
}

/// A bar of parts, as long as its share of `full`. Only a picture of numbers that stand next to it.
pub(super) fn bar(parts: &[(&'static str, u64)], full: u64) -> Markup {
    let mut svg = Markup::new();
    svg.raw("<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">");
    svg.raw("<rect class=\"track\" width=\"1000\" height=\"10\"/>");
    let mut x = 0;
    for (class, value) in parts {
        let share = u128::from(*value) * u128::from(WIDTH) / u128::from(full.max(1));
        let mut width = u64::try_from(share).unwrap_or(WIDTH).min(WIDTH - x);
        if *value > 0 {
            // The least that can be seen.
            width = width.max(4.min(WIDTH - x));
        }
        svg.raw("<rect class=\"").raw(class).raw("\" x=\"").text(x).raw("\" width=\"").text(width);
        svg.raw("\" height=\"10\"/>");
        x += width;
    }
    svg.raw("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        let check = |max, step, ticks| assert_eq!(Scale::up_to(max), Scale { step, ticks }, "{max}");
        check(0, 1, 1);
        check(3, 1, 3);
        check(1000, 500, 2);
        check(1024, 500, 3);
        check(3 << 30, 1 << 30, 3);
        check((17 << 30) + 1, 5 << 30, 4);
        check(u64::MAX, 1 << 62, 4);
    }

    #[test]
    fn bars_do_not_grow_beyond_their_track() {
        let widths = |parts: &[(&'static str, u64)], full| {
            let svg = bar(parts, full).into_string();
            let widths = svg.split("width=\"").skip(2).map(|rest| rest.split('"').next().unwrap().parse().unwrap());
            widths.collect::<Vec<u64>>()
        };
        assert_eq!(widths(&[("base", 1), ("delta", 1)], 4), [250, 250]);
        assert_eq!(widths(&[("base", 1), ("delta", 0)], 1 << 40), [4, 0]);
        assert_eq!(widths(&[("base", 9), ("delta", 9)], 9), [1000, 0]);
        assert_eq!(widths(&[("base", u64::MAX)], 0), [1000]);
    }
}
