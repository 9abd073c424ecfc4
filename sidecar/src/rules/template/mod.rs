//! Texts of labels and annotations: Go's text/template with the functions of Prometheus. Syntax errors and unknown names
//! are found when the rule file is loaded; what goes wrong with the data stands in the text, as Prometheus has it.

use thiserror::Error;

use crate::{model::Labels, promql::VectorSample, rules::Context};

mod format;
mod functions;
mod lex;
mod number;
mod parse;
mod run;
mod value;

#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    tree: parse::Tree,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{0}")]
    Syntax(String),
}

/// Answers the queries of templates.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<Vec<VectorSample>, String>;

/// What a template is expanded with.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub labels: &'a Labels,
    pub value: f64,
    pub context: &'a Context,
    pub query: Ask<'a>,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { text: text.to_owned(), tree: parse::tree(text)? })
    }

    /// Stands for itself, whatever it holds.
    pub fn literal(text: &str) -> Self {
        Self { text: text.to_owned(), tree: parse::Tree::default() }
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn expand(&self, data: Data<'_>) -> String {
        let expanded = run::expand(&self.tree, data);
        expanded.unwrap_or_else(|reason| format!("<error expanding template: {reason}>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample((job, value): (&str, f64)) -> VectorSample {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", job)]);
        VectorSample { labels, sample: crate::model::Sample { at: 0, value } }
    }

    fn expand(text: &str, value: f64) -> Result<String, String> {
        let labels = Labels::from_pairs([("instance", "h:1"), ("job", "edge")]);
        let context = Context {
            external_labels: Labels::from_pairs([("dc", "eu")]),
            external_url: "http://ops.example/sidecar".to_owned(),
            ..Context::default()
        };
        let query = |text: &str| match text {
            "bad" => Err("no such query".to_owned()),
            "none" => Ok(vec![]),
            _ => Ok(["b", "a", "c"].into_iter().zip([1.5, 2.0, 1e7]).map(sample).collect()),
        };
        let data = Data { labels: &labels, value, context: &context, query: &query };
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
    fn control_flow_variables_and_queries() {
        for (text, expected) in [
            ("{{ if gt $value 1.0 }}many{{ else if eq $value 1.0 }}one{{ else }}none{{ end }}", "many"),
            ("{{ if and $labels.job (not $labels.none) }}y{{ end }}", "y"),
            ("{{ if or $labels.none 0 }}y{{ else }}n{{ end }}", "n"),
            ("{{ with $labels.none }}{{ . }}{{ else }}nobody{{ end }}", "nobody"),
            ("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", "1.5"),
            (
                "{{ range query \"up\" | sortByLabel \"job\" }}{{ .Labels.job }}={{ .Value }} {{ end }}",
                "a=2 b=1.5 c=1e+07 ",
            ),
            ("{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s.Labels.job }}{{ end }}", "0b1a2c"),
            ("{{ range query \"none\" }}x{{ else }}empty{{ end }}", "empty"),
            (
                "{{ range query \"up\" }}{{ if eq .Labels.job \"a\" }}{{ continue }}{{ end }}{{ label \"job\" . }}{{ end }}",
                "bc",
            ),
            ("{{ range query \"up\" }}{{ .Labels.job }}{{ break }}{{ end }}", "b"),
            ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
            ("{{ define \"a\" }}<{{ . }}>{{ end }}{{ template \"a\" $labels.job }}", "<edge>"),
            ("{{ define \"a\" }}{{ .arg0 }}/{{ .arg1 }}{{ end }}{{ template \"a\" (args 1 \"x\") }}", "1/x"),
            ("{{ block \"b\" $value }}[{{ . }}]{{ end }}", "[2]"),
            ("{{ (query \"up\" | first).Labels.job }}", "b"),
            (
                "{{ range $name, $value := $labels }}{{ $name }}:{{ $value }};{{ end }}",
                "instance:h:1;job:edge;",
            ),
            ("{{ len (query \"up\") }} {{ index $labels \"job\" }} {{ slice \"abcdef\" 1 3 }}", "3 edge bc"),
            ("{{ $labels }}", "map[instance:h:1 job:edge]"),
            ("{{ reReplaceAll \"(.*):.*\" \"$1!\" $labels.instance }}", "h!"),
            ("{{ if match \"^h\" $labels.instance }}m{{ end }}", "m"),
            (
                "{{ title \"hello edge\" }} {{ stripPort \"h:1\" }} {{ stripDomain \"a.b.c:1\" }}",
                "Hello Edge h a:1",
            ),
            (
                "{{ externalURL }}{{ pathPrefix }} {{ .ExternalURL }}",
                "http://ops.example/sidecar/sidecar http://ops.example/sidecar",
            ),
            ("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
            (
                "{{ printf \"%5.1f|%-5s|%05d|%+d|%q|%t|%x\" 2.25 \"ab\" 42 7 \"q\" true 255 }}",
                "  2.2|ab   |00042|+7|\"q\"|true|ff",
            ),
            ("{{ printf \"%d\" $value }}", "%!d(float64=2)"),
            ("{{ printf \"%s %s\" \"a\" }}{{ printf \"x\" 1 }}", "a %!s(MISSING)x%!(EXTRA int=1)"),
            ("{{ print 1 2 \"a\" \"b\" 3 }}|{{ println 1 \"x\" }}", "1 2ab3|1 x\n"),
            (
                "{{ html \"<a&b>\" }} {{ urlquery \"a b\" }} {{ parseDuration \"1h30m\" }}",
                "&lt;a&amp;b&gt; a+b 5400",
            ),
            ("{{ 0x10 }} {{ 'a' }} {{ 1.5e3 }} {{ -2 }} {{ \"\\u00e9\" }}", "16 97 1500 -2 \u{e9}"),
            ("{{ $value -}} \n x", "2x"),
        ] {
            assert_eq!(expand(text, 2.0).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_the_data_spoil_stands_in_the_text() {
        for (text, reason) in [
            ("{{ humanize }}", "wrong number of args for humanize: want 1 got 0"),
            ("{{ $value | humanize 1 }}", "wrong number of args for humanize"),
            ("{{ humanize $labels.job }}", "invalid syntax"),
            ("{{ query \"none\" | first }}", "first() called on vector with no elements"),
            ("{{ query \"bad\" }}", "error calling query: no such query"),
            ("{{ eq $value 2 }}", "incompatible types for comparison"),
            ("{{ .Nothing }}", "can't evaluate field Nothing"),
            ("{{ template \"x\" }}", "template \"x\" not defined"),
            ("{{ $value $value }}", "can't give argument to non-function"),
            ("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", "maximum template depth"),
            ("{{ range 99999 }}{{ range 99999 }}x{{ end }}{{ end }}", "yields too much"),
            ("{{ match \"(\" \"x\" }}", "unclosed group"),
        ] {
            let expanded = expand(text, 2.0).unwrap();
            assert!(
                expanded.starts_with("<error expanding template: ") && expanded.contains(reason),
                "{text}: {expanded}"
            );
        }
    }

    #[test]
    fn what_is_refused_at_load() {
        for (text, message) in [
            ("{{ $value", "unclosed action"),
            ("{{ }}", "missing value for command"),
            ("{{ $value | }}", "missing value for command"),
            ("{{ if $value }}x", "unexpected EOF"),
            ("{{ end }}", "unexpected {{end}}"),
            ("{{ else }}", "unexpected {{else}}"),
            ("{{ $x }}", "undefined variable \"$x\""),
            ("{{ if $y := 1 }}{{ end }}{{ $y }}", "undefined variable \"$y\""),
            ("{{ nonsense $value }}", "function \"nonsense\" not defined"),
            ("{{ \"open }}", "unterminated quoted string"),
            ("{{ break }}", "outside {{range}}"),
            ("{{ (humanize $value }}", "unclosed left paren"),
            ("{{ humanize $value) }}", "unexpected right paren"),
            ("{{ $value | 1 }}", "non executable command"),
            ("{{ 1x }}", "bad number syntax"),
            ("{{/* open }}", "unclosed comment"),
        ] {
            let error = expand(text, 1.0).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
        assert!(expand(&"{{ if 1 }}".repeat(100), 1.0).is_err(), "depth is bounded");
    }
}
