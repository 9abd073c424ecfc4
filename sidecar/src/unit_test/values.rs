//! The notation of input series: `1 2 _ stale 5x3 1+2x10 10-1x5 _x4`.

use crate::model::STALE_NAN;

/// One series may hold so many values.
const MAX_VALUES: usize = 1_000_000;

/// One value per step; none where there is a gap.
pub(super) fn expand(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        if word.starts_with("{{") {
            return Err("not supported: native histograms".to_owned());
        }
        one(word, &mut values).ok_or_else(|| format!("bad number or duration syntax: {word:?}"))?;
        if values.len() > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
    }
    Ok(values)
}

fn one(word: &str, into: &mut Vec<Option<f64>>) -> Option<()> {
    match word {
        "_" => into.push(None),
        "stale" => into.push(Some(STALE_NAN)),
        _ => {
            let Some((start, times)) = word.rsplit_once('x') else {
                into.push(Some(number(word)?));
                return Some(());
            };
            let times: usize = times.parse().ok().filter(|times| *times <= MAX_VALUES)?;
            if start == "_" {
                into.extend(std::iter::repeat_n(None, times));
                return Some(());
            }
            let sign = start
                .char_indices()
                .skip(1)
                .find(|(at, c)| matches!(c, '+' | '-') && !start[..*at].ends_with(['e', 'E']));
            let (first, step) = match sign {
                Some((at, _)) => (number(&start[..at])?, number(&start[at..])?),
                None => (number(start)?, 0.0),
            };
            // Added up one by one, as Prometheus does: it decides about rounding.
            let mut value = first;
            for _ in 0..=times {
                into.push(Some(value));
                value += step;
            }
        }
    }
    Some(())
}

fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    digits.replace('_', "").parse::<f64>().ok().map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for (text, expected) in [
            ("1 _ 2.5", vec![Some(1.0), None, Some(2.5)]),
            ("5x2", vec![Some(5.0); 3]),
            ("0x2", vec![Some(0.0); 3]),
            ("1_000", vec![Some(1000.0)]),
            ("_x2 1", vec![None, None, Some(1.0)]),
            ("1+2x3", vec![Some(1.0), Some(3.0), Some(5.0), Some(7.0)]),
            ("10-4x2", vec![Some(10.0), Some(6.0), Some(2.0)]),
            ("-1-1x1", vec![Some(-1.0), Some(-2.0)]),
            ("1e2+1e-1x1", vec![Some(100.0), Some(100.1)]),
            ("+Inf -Inf", vec![Some(f64::INFINITY), Some(f64::NEG_INFINITY)]),
            ("", vec![]),
        ] {
            assert_eq!(expand(text), Ok(expected), "{text}");
        }
        assert!(expand("stale").unwrap()[0].is_some_and(crate::model::is_stale));
        for bad in ["a", "1+", "1x", "1+2", "1xx2", "x3", "{{schema:1}}", "1x99999999"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
