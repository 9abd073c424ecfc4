//! `print`, `println` and `printf` as Go's `fmt` does them.

use super::{number, value::Value};

/// Widths and precisions beyond it are cut.
const MAX_WIDTH: usize = 1000;

/// Between two operands stands a space when neither is a text.
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut text_before = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !is_text && !text_before {
            out.push(' ');
        }
        text_before = is_text;
        out.push_str(&shown(value));
    }
    out
}

pub(super) fn println(values: &[Value]) -> String {
    let texts: Vec<String> = values.iter().map(shown).collect();
    texts.join(" ") + "\n"
}

fn shown(value: &Value) -> String {
    if *value == Value::Nil { "<nil>".to_owned() } else { value.text() }
}

#[derive(Default)]
struct Spec {
    plus: bool,
    minus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "+-0 #".contains(*c)) {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                '0' => spec.zero = true,
                ' ' => spec.space = true,
                _ => spec.sharp = true,
            }
        }
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = 0usize;
            let mut any = false;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number = (number * 10 + digit as usize - '0' as usize).min(MAX_WIDTH);
                any = true;
            }
            any.then_some(number)
        };
        spec.width = digits(&mut chars).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.get(used) {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => {
                    used += 1;
                    out.push_str(&one(verb, &spec, value));
                }
            },
        }
    }
    if used < values.len() {
        let extra = values[used..].iter().map(|value| format!("{}={}", value.kind(), shown(value)));
        out.push_str(&format!("%!(EXTRA {})", extra.collect::<Vec<_>>().join(", ")));
    }
    out
}

fn one(verb: char, spec: &Spec, value: &Value) -> String {
    let body = match (verb, value) {
        ('v', Value::Text(text)) if spec.sharp => format!("{text:?}"),
        ('s' | 'v', Value::Text(text)) => match spec.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.clone(),
        },
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('v' | 'd', Value::Int(number)) => signed(spec, *number < 0, number.unsigned_abs().to_string()),
        ('x', Value::Int(number)) => signed(spec, *number < 0, format!("{:x}", number.unsigned_abs())),
        ('X', Value::Int(number)) => signed(spec, *number < 0, format!("{:X}", number.unsigned_abs())),
        ('o', Value::Int(number)) => signed(spec, *number < 0, format!("{:o}", number.unsigned_abs())),
        ('b', Value::Int(number)) => signed(spec, *number < 0, format!("{:b}", number.unsigned_abs())),
        ('c', Value::Int(number)) => {
            u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F', Value::Float(number)) => match number.is_finite() {
            true => signed(spec, number.is_sign_negative(), float(verb, spec, number.abs())),
            false => number::shortest(*number),
        },
        ('v' | 't', Value::Bool(flag)) => flag.to_string(),
        ('v', Value::Nil) => "<nil>".to_owned(),
        ('v' | 's', Value::List(_) | Value::Labels(_) | Value::Map(_) | Value::Struct(_)) => value.text(),
        (verb, Value::Nil) => return format!("%!{verb}(<nil>)"),
        (verb, other) => return format!("%!{verb}({}={})", other.kind(), other.text()),
    };
    let missing = spec.width.saturating_sub(body.chars().count());
    let numeric = matches!(value, Value::Int(_) | Value::Float(_));
    let endless = matches!(value, Value::Float(number) if !number.is_finite());
    match (spec.minus, spec.zero && !endless) {
        (true, _) => body + &" ".repeat(missing),
        (false, true) => {
            let sign = body.chars().take_while(|c| numeric && "+- ".contains(*c)).count();
            format!("{}{}{}", &body[..sign], "0".repeat(missing), &body[sign..])
        }
        (false, false) => " ".repeat(missing) + &body,
    }
}

fn signed(spec: &Spec, negative: bool, digits: String) -> String {
    match (negative, spec.plus, spec.space) {
        (true, ..) => format!("-{digits}"),
        (false, true, _) => format!("+{digits}"),
        (false, false, true) => format!(" {digits}"),
        (false, false, false) => digits,
    }
}

/// Of a finite number that is not negative.
fn float(verb: char, spec: &Spec, value: f64) -> String {
    let written = match (verb, spec.precision) {
        ('f' | 'F', precision) => format!("{value:.*}", precision.unwrap_or(6)),
        ('e' | 'E', precision) => number::with_go_exponent(&format!("{value:.*e}", precision.unwrap_or(6))),
        (_, None) => number::shortest(value),
        (_, Some(precision)) => number::significant(value, precision.max(1)),
    };
    if verb.is_ascii_uppercase() { written.to_uppercase() } else { written }
}
