//! Template functions, checked when the template is parsed.

use super::{Error, Item, Operand, number};

#[derive(Debug, Clone)]
pub(super) enum Function {
    OfNumber(fn(f64) -> String),
    OfText(fn(&str) -> String),
    Printf(Vec<Piece>),
}

/// Of a `printf` format.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text(String),
    /// `%s`, `%v`
    Any,
    /// `%g`
    Shortest,
    /// `%f`, `%.2f`
    Fixed(usize),
}

impl Function {
    /// `piped` says whether another argument comes from before.
    pub(super) fn find(name: &str, operands: &[Operand], piped: bool) -> Result<Self, Error> {
        let function = match name {
            "humanize" => Self::OfNumber(number::humanize),
            "humanize1024" => Self::OfNumber(number::humanize1024),
            "humanizeDuration" => Self::OfNumber(number::humanize_duration),
            "humanizePercentage" => Self::OfNumber(number::humanize_percentage),
            "toUpper" => Self::OfText(str::to_uppercase),
            "toLower" => Self::OfText(str::to_lowercase),
            "printf" => {
                let Some(Operand::Text(format)) = operands.first() else {
                    return Err(Error::Syntax("printf takes a format in quotes first".to_owned()));
                };
                let pieces = pieces(format)?;
                let verbs = pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count();
                let arguments = operands.len() - 1 + usize::from(piped);
                if verbs != arguments {
                    return Err(Error::Syntax(format!("printf: {verbs} verbs but {arguments} arguments")));
                }
                return Ok(Self::Printf(pieces));
            }
            _ => return Err(Error::Unsupported(format!("function {name}"))),
        };
        match operands.len() + usize::from(piped) {
            1 => Ok(function),
            other => Err(Error::Syntax(format!("{name} takes 1 argument, not {other}"))),
        }
    }

    pub(super) fn call(&self, items: &[Item]) -> Item {
        let first = items.first().cloned().unwrap_or(Item::Text(String::new()));
        Item::Text(match self {
            Self::OfNumber(function) => function(first.number()),
            Self::OfText(function) => function(&first.into_text()),
            Self::Printf(pieces) => printf(pieces, items.get(1..).unwrap_or_default()),
        })
    }
}

fn pieces(format: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        let (precision, after) = precision(rest);
        let unsupported = |verb: &str| Err(Error::Unsupported(format!("printf verb %{verb}")));
        let mut chars = after.chars();
        pieces.push(match (chars.next(), precision) {
            (Some('s' | 'v'), None) => Piece::Any,
            (Some('g'), None) => Piece::Shortest,
            (Some('f'), precision) if precision.is_none_or(|digits| digits <= 30) => {
                Piece::Fixed(precision.unwrap_or(6))
            }
            (Some(other), _) => return unsupported(&format!("{}{other}", &rest[..rest.len() - after.len()])),
            (None, _) => return unsupported(""),
        });
        rest = chars.as_str();
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn precision(text: &str) -> (Option<usize>, &str) {
    let Some(after) = text.strip_prefix('.') else { return (None, text) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    (Some(after[..digits].parse().unwrap_or(0)), &after[digits..])
}

fn printf(pieces: &[Piece], arguments: &[Item]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter().cloned();
    for piece in pieces {
        let mut next = || arguments.next().unwrap_or(Item::Text(String::new()));
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Any => out.push_str(&next().into_text()),
            Piece::Shortest => out.push_str(&number::shortest(next().number())),
            Piece::Fixed(digits) => {
                let number = next().number();
                match number.is_finite() {
                    true => out.push_str(&format!("{number:.digits$}")),
                    false => out.push_str(&number::shortest(number)),
                }
            }
        }
    }
    out
}
