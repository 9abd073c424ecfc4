//! From text to an expression that is known to be evaluable, and from there to an answer.

use std::time::Duration;

use millrace_kit::clock::UnixMillis;
use promql_parser::{
    label::Matchers,
    parser::{self, Expr, VectorSelector, token},
};

use super::{
    Error, Options, RangeSeries, Source, Value, VectorSample,
    eval::Evaluator,
    functions, select,
    steps::Steps,
    value::{Column, Evaluated, is_absent},
};
use crate::{
    model::{Labels, Sample},
    series::Matcher,
};

/// Longer texts are refused before they are parsed.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Nesting of expressions, so that recursion cannot exhaust a thread's stack.
pub const MAX_DEPTH: usize = 64;

/// Operators and brackets in the text. The parser's tree is at most this deep, and it is dropped recursively.
const MAX_OPERATORS: usize = 1_500;

/// A parsed and checked expression.
#[derive(Debug, Clone)]
pub struct Query {
    text: String,
    expr: Expr,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(Error::Parse(format!("query is longer than {MAX_QUERY_BYTES} bytes")));
        }
        if operators(text) > MAX_OPERATORS {
            return Err(Error::Parse(format!("query has more than {MAX_OPERATORS} operators")));
        }
        let expr = parser::parse(text).map_err(Error::Parse)?;
        check(&expr, 0)?;
        Ok(Self { text: text.to_owned(), expr })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expression in normal form, as Prometheus shows rules.
    pub fn normal_form(&self) -> String {
        self.expr.to_string()
    }

    /// Over several lines when it is long.
    pub fn formatted(&self) -> String {
        self.expr.prettify()
    }

    pub fn instant(
        &self,
        source: &dyn Source,
        at: UnixMillis,
        options: &Options<'_>,
    ) -> Result<Value, Error> {
        let steps = Steps::instant(at);
        let evaluator = Evaluator::new(source, options, steps);
        if matches!(unwrapped(&self.expr), Expr::MatrixSelector(_) | Expr::Subquery(_)) {
            return evaluator.range_vector(&self.expr, steps).map(Value::Matrix);
        }
        Ok(match evaluator.eval(&self.expr, steps)? {
            Evaluated::Scalar(values) => Value::Scalar(Sample { at, value: first(&values) }),
            Evaluated::Text(text) => Value::Text(at, text),
            Evaluated::Vector(columns) => {
                let mut samples: Vec<_> =
                    columns.into_iter().filter_map(|column| vector_sample(column, at)).collect();
                if !is_ordered(&self.expr) {
                    samples.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                Value::Vector(samples)
            }
        })
    }

    /// Evaluated at `start`, `start + step`, … up to `end`. `step` is in milliseconds and positive.
    pub fn range(
        &self,
        source: &dyn Source,
        start: UnixMillis,
        end: UnixMillis,
        step: i64,
        options: &Options<'_>,
    ) -> Result<Vec<RangeSeries>, Error> {
        let steps = Steps::range(start, end, step);
        let evaluator = Evaluator::new(source, options, steps);
        let mut series: Vec<_> = match evaluator.eval(&self.expr, steps)? {
            Evaluated::Scalar(values) => {
                vec![Column { labels: Labels::empty(), values }.into_series(steps)]
            }
            Evaluated::Vector(columns) => {
                columns.into_iter().map(|column| column.into_series(steps)).collect()
            }
            Evaluated::Text(_) => {
                let message =
                    "invalid expression type \"string\" for range query, must be Scalar or instant Vector";
                return Err(Error::Parse(message.to_owned()));
            }
        };
        series.retain(|series| !series.samples.is_empty());
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    /// Matchers of every selector of the expression.
    pub fn selectors(&self) -> Vec<Vec<Matcher>> {
        let mut selectors = Vec::new();
        walk(&self.expr, &mut |expr| {
            let selector = match expr {
                Expr::VectorSelector(selector) => selector,
                Expr::MatrixSelector(matrix) => &matrix.vs,
                _ => return,
            };
            selectors.extend(select::matchers(selector));
        });
        selectors
    }

    /// Names of the metrics that the expression selects by name.
    pub fn metric_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        walk(&self.expr, &mut |expr| {
            if let Expr::VectorSelector(VectorSelector { name: Some(name), .. }) = expr {
                names.push(name.clone());
            } else if let Expr::MatrixSelector(matrix) = expr {
                names.extend(matrix.vs.name.clone());
            }
        });
        names.sort();
        names.dedup();
        names
    }
}

/// The matchers of an instant selector without modifiers.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    match Query::parse(text)?.expr {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => {
            select::matchers(&selector)
        }
        _ => Err(Error::Parse(format!("{text:?} is not a series selector"))),
    }
}

/// A series as it is written: `name{label="value"}`, `{}` for the one without labels.
pub fn parse_metric(text: &str) -> Result<Labels, Error> {
    if text.chars().all(|c| c.is_whitespace() || "{}".contains(c)) && text.contains('{') {
        return Ok(Labels::empty());
    }
    let matchers = parse_selector(text)?;
    let pair = |matcher: &Matcher| {
        let value = matcher.exact().ok_or_else(|| Error::Parse(format!("{text:?} is not a series")))?;
        Ok((matcher.name.clone(), value.to_owned()))
    };
    let pairs: Vec<(String, String)> = matchers.iter().map(pair).collect::<Result<_, Error>>()?;
    Ok(Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// `5m`, `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    promql_parser::util::parse_duration(text).ok()
}

pub(super) fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => unwrapped(&paren.expr),
        other => other,
    }
}

fn first(values: &[f64]) -> f64 {
    values.first().copied().unwrap_or(f64::NAN)
}

fn vector_sample(column: Column, at: UnixMillis) -> Option<VectorSample> {
    let value = *column.values.first()?;
    (!is_absent(value)).then_some(VectorSample { labels: column.labels, sample: Sample { at, value } })
}

/// Whether the order of the result means something.
fn is_ordered(expr: &Expr) -> bool {
    match unwrapped(expr) {
        Expr::Call(call) => call.func.name.starts_with("sort"),
        Expr::Aggregate(aggregate) => matches!(aggregate.op.id(), token::T_TOPK | token::T_BOTTOMK),
        _ => false,
    }
}

fn operators(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let operators = words.filter(|word| matches!(*word, "and" | "or" | "unless" | "atan2")).count();
    operators + text.bytes().filter(|byte| b"+-*/%^=<>!([{".contains(byte)).count()
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(node) => node.param.iter().map(AsRef::as_ref).chain([node.expr.as_ref()]).collect(),
        Expr::Unary(node) => vec![&node.expr],
        Expr::Binary(node) => vec![&node.lhs, &node.rhs],
        Expr::Paren(node) => vec![&node.expr],
        Expr::Subquery(node) => vec![&node.expr],
        Expr::Call(node) => node.args.args.iter().map(AsRef::as_ref).collect(),
        _ => vec![],
    }
}

fn walk(expr: &Expr, each: &mut dyn FnMut(&Expr)) {
    each(expr);
    children(expr).into_iter().for_each(|child| walk(child, each));
}

/// Refuses what the parser takes but the evaluator does not know.
fn check(expr: &Expr, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Parse(format!("expression is nested deeper than {MAX_DEPTH} levels")));
    }
    let unsupported = |what: String| Err(Error::Unsupported(what));
    match expr {
        Expr::VectorSelector(selector) => check_matchers(&selector.matchers)?,
        Expr::MatrixSelector(matrix) => check_matchers(&matrix.vs.matchers)?,
        Expr::Call(call) if !functions::is_known(call.func.name) => {
            return unsupported(format!("function {}()", call.func.name));
        }
        Expr::Aggregate(node) if matches!(node.op.id(), token::T_LIMITK | token::T_LIMIT_RATIO) => {
            return unsupported(format!("aggregation {}", node.op));
        }
        Expr::Binary(node) => {
            let fill = node.modifier.as_ref().map(|modifier| &modifier.fill_values);
            if fill.is_some_and(|fill| fill.lhs.is_some() || fill.rhs.is_some()) {
                return unsupported("fill modifiers".to_owned());
            }
        }
        Expr::Extension(_) => return unsupported("extension nodes".to_owned()),
        _ => {}
    }
    children(expr).into_iter().try_for_each(|child| check(child, depth + 1))
}

fn check_matchers(matchers: &Matchers) -> Result<(), Error> {
    if !matchers.or_matchers.is_empty() {
        return Err(Error::Unsupported("`or` between label matchers".to_owned()));
    }
    matchers.matchers.iter().try_for_each(|matcher| select::matcher(matcher).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_says_so() {
        for (text, message) in [
            ("info(up)", "not supported: function info()"),
            ("limitk(2, up)", "not supported: aggregation limitk"),
            ("up + fill(0) up", "not supported: fill modifiers"),
            ("{a=\"1\" or b=\"2\"}", "not supported: `or` between label matchers"),
            ("histogram_stddev(up)", "not supported: function histogram_stddev()"),
        ] {
            assert_eq!(Query::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        for text in [
            format!("{}1{}", "(".repeat(70), ")".repeat(70)),
            format!("1{}", "+1".repeat(1000)),
            format!("1{}", "+1".repeat(6000)),
            "-".repeat(3000) + "1",
            "a".repeat(MAX_QUERY_BYTES + 1),
        ] {
            assert!(matches!(Query::parse(&text), Err(Error::Parse(_))), "{}", &text[..40]);
        }
        assert!(Query::parse(&format!("1{}", "+1".repeat(60))).is_ok());
    }

    #[test]
    fn metric_names_are_found() {
        let query = Query::parse("sum(rate(b_total[5m])) / a + on(x) c and b_total").unwrap();
        assert_eq!(query.metric_names(), ["a", "b_total", "c"]);
    }
}
