//! Texts of labels and annotations: the part of Go's text/template that rule files really use. Anything else is
//! refused when the file is loaded, so that no alert is sent with a hole in it.
//!
//! `{{ $labels.x }}`, `{{ $value }}`, `{{ $externalLabels.x }}`, pipes, parentheses, literals, and the functions of
//! [`function::find`].

use thiserror::Error;

use crate::model::Labels;

mod function;
mod number;
mod parse;

#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{0}")]
    Syntax(String),
    #[error("not supported: {0}")]
    Unsupported(String),
}

/// What a template is expanded with.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub labels: &'a Labels,
    pub external_labels: &'a Labels,
    pub value: f64,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Action(Pipeline),
}

/// Each command's result is the last argument of the next.
#[derive(Debug, Clone)]
struct Pipeline(Vec<Command>);

#[derive(Debug, Clone)]
enum Command {
    Operand(Operand),
    Call(function::Function, Vec<Operand>),
}

#[derive(Debug, Clone)]
enum Operand {
    Label(String),
    ExternalLabel(String),
    Value,
    Text(String),
    Number(f64),
    Nested(Pipeline),
}

#[derive(Debug, Clone)]
enum Item {
    Text(String),
    Number(f64),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { text: text.to_owned(), parts: parse::parts(text)? })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn expand(&self, data: Data<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Action(pipeline) => out.push_str(&pipeline.run(data).into_text()),
            }
        }
        out
    }
}

impl Pipeline {
    fn run(&self, data: Data<'_>) -> Item {
        let mut last: Option<Item> = None;
        for command in &self.0 {
            let next = match command {
                Command::Operand(operand) => operand.item(data),
                Command::Call(function, operands) => {
                    let mut items: Vec<Item> = operands.iter().map(|operand| operand.item(data)).collect();
                    items.extend(last);
                    function.call(&items)
                }
            };
            last = Some(next);
        }
        last.unwrap_or(Item::Text(String::new()))
    }
}

impl Operand {
    fn item(&self, data: Data<'_>) -> Item {
        match self {
            Self::Label(name) => Item::Text(data.labels.get(name).to_owned()),
            Self::ExternalLabel(name) => Item::Text(data.external_labels.get(name).to_owned()),
            Self::Value => Item::Number(data.value),
            Self::Text(text) => Item::Text(text.clone()),
            Self::Number(number) => Item::Number(*number),
            Self::Nested(pipeline) => pipeline.run(data),
        }
    }
}

impl Item {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number::shortest(number),
        }
    }

    /// Texts that are no numbers count as NaN.
    fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(f64::NAN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, value: f64) -> Result<String, String> {
        let labels = Labels::from_pairs([("instance", "h:1"), ("job", "edge")]);
        let external_labels = Labels::from_pairs([("dc", "eu")]);
        let data = Data { labels: &labels, external_labels: &external_labels, value };
        Template::parse(text).map(|template| template.expand(data)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_rule_files_use() {
        for (text, value, expected) in [
            ("plain", 0.0, "plain"),
            ("{{ $labels.instance }} of {{$labels.job}}: {{ $value }}", 0.25, "h:1 of edge: 0.25"),
            ("{{ .Labels.job }} {{ .Value }}", 3.0, "edge 3"),
            ("{{ $labels.none }}|", 0.0, "|"),
            ("{{ $externalLabels.dc }}", 0.0, "eu"),
            ("{{ $value | humanizePercentage }}", 0.0512, "5.12%"),
            ("{{ humanizePercentage $value }}", 0.123456, "12.35%"),
            ("{{ $value | humanizeDuration }}", 3725.0, "1h 2m 5s"),
            ("{{ $value | humanizeDuration }}", 0.0123, "12.3ms"),
            ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
            ("{{ $value | humanize1024 }}", 2048.0, "2ki"),
            ("{{ printf \"%.2f\" $value }}s", 2.345, "2.35s"),
            ("{{ $value | printf \"%.1f%%\" }}", 42.0, "42.0%"),
            ("{{ printf \"%s has %g\" $labels.job $value }}", 1.5, "edge has 1.5"),
            ("{{ printf \"%v\" (humanize $value) }}", 1000.0, "1k"),
            ("a  {{- $labels.job -}}  b", 0.0, "aedgeb"),
            ("{{ $labels.job | toUpper }}", 0.0, "EDGE"),
            ("{{ \"{{\" }}{{ `raw\\n` }}{{ 5 }}", 0.0, "{{raw\\n5"),
            ("{{/* nothing */}}x", 0.0, "x"),
            ("{{ $value }}", 1e21, "1e+21"),
        ] {
            assert_eq!(expand(text, value).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_refused_at_load() {
        for (text, message) in [
            ("{{ $value", "unclosed action"),
            ("{{ }}", "empty action"),
            ("{{ if $value }}x{{ end }}", "not supported: if"),
            ("{{ range query \"up\" }}{{ end }}", "not supported: range"),
            ("{{ $x := 1 }}", "not supported: $x"),
            ("{{ $labels }}", "not supported: $labels without a name"),
            ("{{ nonsense $value }}", "not supported: function nonsense"),
            ("{{ humanize }}", "humanize takes 1 argument"),
            ("{{ $value | humanize 1 }}", "humanize takes 1 argument"),
            ("{{ printf \"%d\" $value }}", "not supported: printf verb %d"),
            ("{{ printf \"%.2f\" }}", "printf: 1 verbs but 0 arguments"),
            ("{{ printf $value }}", "printf takes a format in quotes first"),
            ("{{ \"open }}", "unclosed string"),
            ("{{ $value $value }}", "not supported: arguments to something that is no function"),
        ] {
            let error = expand(text, 1.0).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
