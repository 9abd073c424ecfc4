//! From the text of a template to literal text and the tokens of its actions.

use super::{Error, value::Value};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Whether white space stands before it: `$x.y` is a field, `$x .y` are two operands.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A function, keyword, `true`, `false` or `nil`.
    Word(String),
    /// `.name`
    Field(String),
    /// `$` or `$name`, with the dollar sign.
    Variable(String),
    Dot,
    Constant(Value),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
}

pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        let mut inside = &rest[start + 2..];
        if trim_next {
            before = before.trim_start();
        }
        if let Some(trimmed) = inside.strip_prefix('-').filter(|after| after.starts_with(char::is_whitespace))
        {
            before = before.trim_end();
            inside = trimmed;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let end = action_end(inside)?;
        let mut action = &inside[..end];
        trim_next = false;
        if let Some(trimmed) = action.strip_suffix('-').filter(|text| text.ends_with(char::is_whitespace)) {
            action = trimmed;
            trim_next = true;
        }
        if !action.trim_start().starts_with("/*") {
            pieces.push(Piece::Action(tokens(action)?));
        }
        rest = &inside[end + 2..];
    }
    let rest = if trim_next { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Position of the closing `}}`, which may also stand in a string or comment.
fn action_end(inside: &str) -> Result<usize, Error> {
    let syntax = |what: &str| Err(Error::Syntax(what.to_owned()));
    if inside.trim_start().starts_with("/*") {
        let Some(comment_end) = inside.find("*/") else { return syntax("unclosed comment") };
        let after = &inside[comment_end + 2..];
        let closes = after.trim_start().strip_prefix('-').unwrap_or(after.trim_start()).starts_with("}}");
        let end = after.find("}}").filter(|_| closes);
        return end.map_or_else(
            || syntax("comment ends before closing delimiter"),
            |end| Ok(comment_end + 2 + end),
        );
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(b'"' | b'\'') if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'`' | b'\'') => quote = Some(byte),
            None if byte == b'}' && inside.as_bytes().get(at + 1) == Some(&b'}') => return Ok(at),
            None => {}
        }
    }
    syntax(if quote.is_some() { "unterminated quoted string" } else { "unclosed action" })
}

fn tokens(action: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = action;
    let mut spaced = true;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            spaced = true;
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (kind, length) = token(first, rest)?;
        tokens.push(Token { kind, spaced });
        spaced = false;
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// The token at the start of `rest`, and its bytes.
fn token(first: char, rest: &str) -> Result<(Kind, usize), Error> {
    let word =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    Ok(match first {
        '|' => (Kind::Pipe, 1),
        '(' => (Kind::Open, 1),
        ')' => (Kind::Close, 1),
        ',' => (Kind::Comma, 1),
        '=' => (Kind::Assign, 1),
        ':' if rest.starts_with(":=") => (Kind::Declare, 2),
        '"' | '`' | '\'' => quoted(first, rest)?,
        '$' => {
            let length = 1 + word(&rest[1..]);
            (Kind::Variable(rest[..length].to_owned()), length)
        }
        '.' => match rest[1..].chars().next() {
            Some(next) if next.is_ascii_digit() => number(rest)?,
            Some(next) if next.is_alphabetic() || next == '_' => {
                let length = 1 + word(&rest[1..]);
                (Kind::Field(rest[1..length].to_owned()), length)
            }
            _ => (Kind::Dot, 1),
        },
        '+' | '-' | '0'..='9' => number(rest)?,
        _ if first.is_alphabetic() || first == '_' => {
            let length = word(rest);
            (Kind::Word(rest[..length].to_owned()), length)
        }
        _ => return Err(Error::Syntax(format!("unexpected {first:?} in an action"))),
    })
}

fn number(rest: &str) -> Result<(Kind, usize), Error> {
    let mut before = ' ';
    let ends = |c: char| {
        let sign = matches!(c, '+' | '-') && matches!(before, ' ' | 'e' | 'E' | 'p' | 'P');
        before = c;
        !(c.is_alphanumeric() || matches!(c, '.' | '_') || sign)
    };
    let length = rest.find(ends).unwrap_or(rest.len());
    let text = &rest[..length];
    let digits = text.replace('_', "");
    let (sign, unsigned) = match digits.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let whole = match unsigned.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => i64::from_str_radix(&unsigned[2..], 16).ok(),
        Some("0o") => i64::from_str_radix(&unsigned[2..], 8).ok(),
        Some("0b") => i64::from_str_radix(&unsigned[2..], 2).ok(),
        _ if unsigned.len() > 1 && unsigned.starts_with('0') => i64::from_str_radix(unsigned, 8).ok(),
        _ => unsigned.parse().ok(),
    };
    let value = match whole {
        Some(whole) => Some(Value::Int(sign * whole)),
        None if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            let float: Option<f64> = unsigned.parse().ok();
            float.map(|float| Value::Float(sign as f64 * float))
        }
        None => None,
    };
    let value = value.ok_or_else(|| Error::Syntax(format!("bad number syntax: {text:?}")))?;
    Ok((Kind::Constant(value), length))
}

/// A string, a raw string, or a character (which is a number).
fn quoted(open: char, rest: &str) -> Result<(Kind, usize), Error> {
    let unterminated = || Error::Syntax("unterminated quoted string".to_owned());
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    let end = loop {
        match chars.next().ok_or_else(unterminated)? {
            (at, c) if c == open => break at,
            (_, '\\') if open != '`' => text.push(escape(&mut chars)?),
            (_, '\n') if open == '"' => return Err(unterminated()),
            (_, other) => text.push(other),
        }
    };
    let kind = match open {
        '\'' => match (text.chars().next(), text.chars().nth(1)) {
            (Some(only), None) => Kind::Constant(Value::Int(i64::from(u32::from(only)))),
            _ => return Err(Error::Syntax("malformed character constant".to_owned())),
        },
        _ => Kind::Constant(Value::Text(text)),
    };
    Ok((kind, end + 1))
}

fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<char, Error> {
    let bad = || Error::Syntax("invalid escape in a string".to_owned());
    let digits = match chars.next().map(|(_, c)| c) {
        Some('n') => return Ok('\n'),
        Some('t') => return Ok('\t'),
        Some('r') => return Ok('\r'),
        Some('a') => return Ok('\u{7}'),
        Some('b') => return Ok('\u{8}'),
        Some('f') => return Ok('\u{c}'),
        Some('v') => return Ok('\u{b}'),
        Some(c @ ('"' | '\'' | '\\')) => return Ok(c),
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        _ => return Err(bad()),
    };
    let code: String = chars.take(digits).map(|(_, c)| c).collect();
    u32::from_str_radix(&code, 16)
        .ok()
        .filter(|_| code.len() == digits)
        .and_then(char::from_u32)
        .ok_or_else(bad)
}
