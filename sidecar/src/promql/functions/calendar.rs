//! Parts of a UTC date, of values that are Unix seconds.

const DAY: i64 = 86_400;

struct Date {
    year: i64,
    month: i64,
    day: i64,
}

pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |at| of(at, |seconds| seconds.rem_euclid(3600) / 60),
        "hour" => |at| of(at, |seconds| seconds.rem_euclid(DAY) / 3600),
        // 1970-01-01 was a Thursday.
        "day_of_week" => |at| of(at, |seconds| (seconds.div_euclid(DAY) + 4).rem_euclid(7)),
        "day_of_month" => |at| of(at, |seconds| date(seconds).day),
        "day_of_year" => |at| {
            of(at, |seconds| seconds.div_euclid(DAY) - days_before(date(seconds).year, 1) + 1)
        },
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

/// Beyond ±10¹² seconds (the year 33,658) there is no date.
fn of(at: f64, part: fn(i64) -> i64) -> f64 {
    if at.abs() < 1e12 { part(at.floor() as i64) as f64 } else { f64::NAN }
}

/// Civil date from days since the epoch; years begin in March and eras last 400 years
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(seconds: i64) -> Date {
    let days = seconds.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day: day_of_year - (153 * shifted + 2) / 5 + 1 }
}

/// Days from the epoch to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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
                "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year",
            ];
            assert_eq!(names.map(|name| find(name).unwrap()(at)), expected, "{at}");
        }
    }
}
