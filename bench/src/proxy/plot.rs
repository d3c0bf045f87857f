//! The plot: CPU time for a transaction, as SVG.

use std::fmt::Write;

use anyhow::Result;

use super::outcome::{Outcome, Row};
use super::turn::Turn;

// In pixels.
const WIDTH: f64 = 860.0;
const NAMES: f64 = 190.0;
const FIGURES: f64 = 70.0;
const BAR: f64 = 16.0;
const LINE: f64 = 22.0;
const GAP: f64 = 18.0;
const HEAD: f64 = 58.0;

/// Bars of all contenders in all cases, in user mode and in the kernel apart; a thin line shows the
/// least and the greatest of the rounds.
///
/// On white, because a page may be dark.
pub(super) fn write(outcomes: &[Outcome]) -> Result<String> {
    let rows = || outcomes.iter().flat_map(|outcome| &outcome.rows);
    let greatest =
        rows().filter_map(|row| Some(row.spread(Turn::cpu)?.greatest)).fold(1.0, f64::max);
    let scale = (WIDTH - NAMES - FIGURES) / greatest;
    let heights = outcomes.iter().map(|outcome| GAP + LINE + LINE * outcome.rows.len() as f64);
    let height = HEAD + heights.sum::<f64>() + GAP;
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" fill=\"#1f2328\">CPU time of the proxy for a \
         transaction, µs (less is better)</text>"
    )?;
    legend(&mut out, 12.0, "user", USER)?;
    legend(&mut out, 80.0, "kernel", SYSTEM)?;
    let mut y = HEAD;
    for outcome in outcomes {
        y += GAP;
        writeln!(
            out,
            "<text x=\"12\" y=\"{:.1}\" font-weight=\"bold\" fill=\"#1f2328\">{}</text>",
            y + BAR - 3.0,
            outcome.case
        )?;
        y += LINE;
        for row in &outcome.rows {
            bar(&mut out, row, y, scale)?;
            y += LINE;
        }
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

const USER: &str = "#0969da";
const SYSTEM: &str = "#a5d2ff";

fn legend(out: &mut String, x: f64, text: &str, colour: &str) -> Result<()> {
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
         <text x=\"{}\" y=\"47\" fill=\"#1f2328\">{text}</text>",
        x + 17.0
    )?;
    Ok(())
}

fn bar(out: &mut String, row: &Row, y: f64, scale: f64) -> Result<()> {
    let (Some(cpu), Some(user)) = (row.spread(Turn::cpu), row.spread(|turn| turn.user)) else {
        return Ok(());
    };
    // The two parts of the median of the whole, which is not the sum of their medians.
    let user = user.median.min(cpu.median);
    let (all, middle, text) = (cpu.median * scale, y + BAR / 2.0, y + BAR - 3.0);
    let at = |value: f64| NAMES + value * scale;
    writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\" fill=\"#1f2328\">{}</text>\
         <rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{all:.1}\" height=\"{BAR}\" fill=\"{SYSTEM}\"/>\
         <rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{USER}\"/>\
         <line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" \
         stroke=\"#1f2328\"/>\
         <text x=\"{:.1}\" y=\"{text:.1}\" fill=\"#1f2328\">{:.1}</text>",
        NAMES - 8.0,
        escape(&row.name),
        user * scale,
        at(cpu.least),
        at(cpu.greatest),
        at(cpu.greatest) + 8.0,
        cpu.median,
    )?;
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::case::Case;
    use super::*;

    #[test]
    fn every_contender_has_a_bar_and_names_are_text() {
        let (user, system, server) = (3.0, 9.0, 50.0);
        let turn = Turn { throughput: 1.0, p50: 1.0, p99: 1.0, user, system, server, peak: 1.0 };
        let row = |name: &str| Row { name: name.to_owned(), remark: None, turns: vec![turn] };
        let rows = vec![row("one"), row("<two> & more")];
        let case = Case::all(&[50])[0];
        let plot = write(&[Outcome { case, rows, absent: Vec::new() }]).unwrap();
        assert_eq!(plot.matches("<line").count(), 2);
        assert!(plot.contains(">&lt;two&gt; &amp; more</text>"), "{plot}");
        assert!(plot.contains(">12.0</text>"), "{plot}");
        assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n"));
    }
}
