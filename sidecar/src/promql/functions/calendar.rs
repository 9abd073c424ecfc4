//! Parts of a UTC date, of values that are Unix seconds.

use crate::model::time::{DAY_SECONDS, Date, date_of_day, day_of_date};

pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |at| of(at, |seconds| second_of_day(seconds) / 60 % 60),
        "hour" => |at| of(at, |seconds| second_of_day(seconds) / 3600),
        // 1970-01-01 was a Thursday.
        "day_of_week" => |at| of(at, |seconds| (day(seconds) + 4).rem_euclid(7)),
        "day_of_month" => |at| of(at, |seconds| date(seconds).day),
        "day_of_year" => |at| of(at, |seconds| day(seconds) - days_before(date(seconds).year, 1) + 1),
        "days_in_month" => |at| {
            of(at, |seconds| {
                let Date { year, month, .. } = date(seconds);
                let next = if month == 12 { days_before(year + 1, 1) } else { days_before(year, month + 1) };
                next - days_before(year, month)
            })
        },
        "month" => |at| of(at, |seconds| date(seconds).month),
        "year" => |at| of(at, |seconds| date(seconds).year),
        _ => return None,
    })
}

/// Fractions are cut off. NaN and what no 64-bit integer holds count as the end of Go's time, 2⁶³ s, as they do in
/// Prometheus.
fn of(at: f64, part: fn(i128) -> i64) -> f64 {
    const END: i128 = 1 << 63;
    let seconds = at.trunc() as i128;
    part(if at.is_nan() || !(-END..END).contains(&seconds) { END } else { seconds }) as f64
}

fn day(seconds: i128) -> i64 {
    seconds.div_euclid(i128::from(DAY_SECONDS)) as i64
}

fn second_of_day(seconds: i128) -> i64 {
    seconds.rem_euclid(i128::from(DAY_SECONDS)) as i64
}

fn date(seconds: i128) -> Date {
    date_of_day(day(seconds))
}

/// Days from the epoch to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    day_of_date(Date { year, month, day: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_dates() {
        // 2024-02-29T12:34:56Z, 1969-12-31T23:59:59Z, 2026-11-21T03:00:00Z
        for (at, expected) in [
            (1_709_210_096.0, [34.0, 12.0, 4.0, 29.0, 60.0, 29.0, 2.0, 2024.0]),
            (-1.0, [59.0, 23.0, 3.0, 31.0, 365.0, 31.0, 12.0, 1969.0]),
            (1_795_230_000.0, [0.0, 3.0, 6.0, 21.0, 325.0, 30.0, 11.0, 2026.0]),
        ] {
            let names = [
                "minute",
                "hour",
                "day_of_week",
                "day_of_month",
                "day_of_year",
                "days_in_month",
                "month",
                "year",
            ];
            assert_eq!(names.map(|name| find(name).unwrap()(at)), expected, "{at}");
        }
    }
}
