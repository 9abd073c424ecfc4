//! The queries of the differential test, by clause of the documentation. Some must fail, in both.

/// Each with what it is applied to.
const RANGE_FUNCTIONS: &[&str] = &[
    "rate",
    "increase",
    "irate",
    "delta",
    "idelta",
    "deriv",
    "resets",
    "changes",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "absent_over_time",
];
const RANGES: &[&str] = &[
    "requests_total{code=\"200\"}[5m]",
    "memory_bytes[4m7s]",
    "gappy[3m]",
    "special[2m]",
    "temperature[5m] offset 90s",
];
const SUBQUERIES: &[&str] =
    &["rate(requests_total{code=\"500\"}[2m])[10m:30s]", "(temperature * 2)[7m:45s] offset 1m"];
const MATH: &[&str] = &[
    "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "deg", "rad", "sin", "cos", "tan",
    "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "round",
];
const CALENDAR: &[&str] =
    &["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"];
const AGGREGATIONS: &[&str] = &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];

pub fn all() -> Vec<String> {
    let mut queries: Vec<String> = include_str!("queries.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .map(str::to_owned)
        .collect();
    for function in RANGE_FUNCTIONS {
        queries.extend(RANGES.iter().chain(SUBQUERIES).map(|range| format!("{function}({range})")));
    }
    for range in RANGES {
        queries.push(format!("quantile_over_time(0.3, {range})"));
        queries.push(format!("predict_linear({range}, 300)"));
    }
    for function in MATH {
        queries.push(format!("{function}(temperature)"));
        queries.push(format!("{function}(special)"));
    }
    for function in CALENDAR {
        queries.push(format!("{function}()"));
        queries.push(format!("{function}(expiry_seconds)"));
        queries.push(format!("{function}(special)"));
    }
    for function in AGGREGATIONS {
        queries.push(format!("{function}(requests_total)"));
        queries.push(format!("{function} by (job, code) (requests_total)"));
        queries.push(format!("{function} without (instance) (rate(requests_total[3m]))"));
        queries.push(format!("{function}(special)"));
        queries.push(format!("{function} by (kind) (gappy)"));
    }
    for operator in ARITHMETIC {
        queries.push(format!("7.5 {operator} 2"));
        queries.push(format!("temperature {operator} 3"));
        queries.push(format!("-1.5 {operator} temperature"));
        queries.push(format!("temperature {operator} temperature offset 1m"));
        queries.push(format!("special {operator} on(kind) special offset 15s"));
    }
    for operator in COMPARISONS {
        queries.push(format!("7.5 {operator} bool 2"));
        queries.push(format!("temperature {operator} 0.5"));
        queries.push(format!("0.5 {operator} temperature"));
        queries.push(format!("temperature {operator} bool 0.5"));
        queries.push(format!("special {operator} special"));
        queries.push(format!("temperature {operator} on(zone) temperature offset 2m"));
        queries.push(format!("temperature {operator} bool on(zone) temperature offset 2m"));
    }
    queries
}
