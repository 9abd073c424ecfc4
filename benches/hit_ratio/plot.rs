//! Curves over a logarithmic axis, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 5] = ["#c0392b", "#7f8c8d", "#2980b9", "#27ae60", "#8e44ad"];

/// `shares` of the bytes, and for each curve its hit ratios in per cent; `of` is what they count.
pub fn draw(of: &str, shares: &[f64], curves: &[(&str, &[f64])]) -> String {
    let all = || curves.iter().flat_map(|(_, ratios)| ratios.iter().copied());
    let low = (all().fold(f64::MAX, f64::min) / 5.0).floor() * 5.0;
    let high = (all().fold(0.0, f64::max) / 5.0).ceil() * 5.0;
    let [first, last] = [shares[0].ln(), shares[shares.len() - 1].ln()];
    let x = |share: f64| MARGIN + (share.ln() - first) / (last - first) * (WIDTH - 2.0 * MARGIN - 90.0);
    let y = |ratio: f64| HEIGHT - MARGIN - (ratio - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"28\" font-size=\"15\">Hits of the memory tier, per cent of {of}</text>\n\
         <text x=\"{MARGIN}\" y=\"{:.0}\">memory, as a share of the bytes of all objects</text>\n",
        HEIGHT - 14.0
    );
    let mut ratio = low;
    while ratio <= high {
        let at = y(ratio);
        let end = WIDTH - MARGIN - 90.0;
        _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {at:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" \
             text-anchor=\"end\">{ratio:.0}</text>",
            MARGIN - 6.0,
            at + 4.0
        );
        ratio += 5.0;
    }
    for share in shares {
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{:.1} %</text>",
            x(*share),
            HEIGHT - MARGIN + 18.0,
            share * 100.0
        );
    }
    for (n, ((name, ratios), colour)) in curves.iter().zip(COLOURS).enumerate() {
        let points: String = shares
            .iter()
            .zip(*ratios)
            .map(|(share, ratio)| format!("{:.1},{:.1} ", x(*share), y(*ratio)))
            .collect();
        let dashes = if n == 0 { "" } else { " stroke-dasharray=\"5 3\"" };
        _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n\
             <text x=\"{:.0}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            points.trim_end(),
            WIDTH - MARGIN - 80.0,
            MARGIN + 20.0 + 20.0 * n as f64
        );
    }
    svg + "</svg>\n"
}
