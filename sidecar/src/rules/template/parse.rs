//! From the text of a template to its parts.

use super::{Command, Error, Operand, Part, Pipeline, function::Function};

/// Nesting of parentheses.
const MAX_DEPTH: usize = 8;

pub(super) fn parts(text: &str) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        if trim_next {
            before = before.trim_start();
        }
        let mut inside = &rest[start + 2..];
        if let Some(trimming) = inside.strip_prefix("- ") {
            before = before.trim_end();
            inside = trimming;
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let end = action_end(inside)?;
        let mut action = &inside[..end];
        trim_next = false;
        if let Some(trimmed) = action.strip_suffix(" -") {
            action = trimmed;
            trim_next = true;
        }
        let comment = action.trim().starts_with("/*") && action.trim().ends_with("*/");
        if !comment {
            let tokens = tokens(action)?;
            let (pipeline, left) = pipeline(&tokens, 0)?;
            if !left.is_empty() {
                return Err(Error::Syntax("unexpected `)`".to_owned()));
            }
            parts.push(Part::Action(pipeline));
        }
        rest = &inside[end + 2..];
    }
    let rest = if trim_next { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// Position of the closing `}}`, which may also stand in a string.
fn action_end(inside: &str) -> Result<usize, Error> {
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(b'"') if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'`') => quote = Some(byte),
            None if inside[at..].starts_with("}}") => return Ok(at),
            None => {}
        }
    }
    let what = if quote.is_some() { "unclosed string" } else { "unclosed action" };
    Err(Error::Syntax(what.to_owned()))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Pipe,
    Open,
    Close,
}

fn tokens(action: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut chars = action.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '|' => tokens.push(Token::Pipe),
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '`' | '"' => {
                let mut text = String::new();
                loop {
                    match chars.next() {
                        None => return Err(Error::Syntax("unclosed string".to_owned())),
                        Some((_, end)) if end == c => break,
                        Some((_, '\\')) if c == '"' => text.push(unescaped(chars.next())?),
                        Some((_, other)) => text.push(other),
                    }
                }
                tokens.push(Token::Text(text));
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '|' | '(' | ')' | '"' | '`');
                let mut end = at + c.len_utf8();
                while let Some((next, c)) = chars.next_if(|(_, c)| !ends(*c)) {
                    end = next + c.len_utf8();
                }
                tokens.push(Token::Word(action[at..end].to_owned()));
            }
        }
    }
    Ok(tokens)
}

fn unescaped(next: Option<(usize, char)>) -> Result<char, Error> {
    match next {
        Some((_, 'n')) => Ok('\n'),
        Some((_, 't')) => Ok('\t'),
        Some((_, c @ ('"' | '\\'))) => Ok(c),
        other => Err(Error::Unsupported(format!("escape \\{}", other.map_or(' ', |(_, c)| c)))),
    }
}

/// Reads up to the end or an unmatched `)`; returns what is left.
fn pipeline(tokens: &[Token], depth: usize) -> Result<(Pipeline, &[Token]), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Unsupported("so many parentheses".to_owned()));
    }
    let mut commands = Vec::new();
    let mut rest = tokens;
    loop {
        let (command, after) = command(rest, depth, !commands.is_empty())?;
        commands.push(command);
        match after.first() {
            Some(Token::Pipe) => rest = &after[1..],
            _ => return Ok((Pipeline(commands), after)),
        }
    }
}

fn command(tokens: &[Token], depth: usize, piped: bool) -> Result<(Command, &[Token]), Error> {
    let mut rest = tokens;
    let mut function = None;
    let mut operands = Vec::new();
    while let Some(token) = rest.first() {
        let first = function.is_none() && operands.is_empty();
        match token {
            Token::Pipe | Token::Close => break,
            Token::Open => {
                let (nested, after) = pipeline(&rest[1..], depth + 1)?;
                let [Token::Close, after @ ..] = after else {
                    return Err(Error::Syntax("unclosed `(`".to_owned()));
                };
                operands.push(Operand::Nested(nested));
                rest = after;
                continue;
            }
            Token::Text(text) => operands.push(Operand::Text(text.clone())),
            Token::Word(word) => match operand(word)? {
                Some(operand) => operands.push(operand),
                None if first => function = Some(word.as_str()),
                None => return Err(Error::Syntax(format!("unexpected {word}"))),
            },
        }
        rest = &rest[1..];
    }
    let command = match function {
        Some(name) => Command::Call(Function::find(name, &operands, piped)?, operands),
        None if operands.is_empty() => return Err(Error::Syntax("empty action or command".to_owned())),
        None if operands.len() > 1 || piped => {
            let message = "arguments to something that is no function";
            return Err(Error::Unsupported(message.to_owned()));
        }
        None => Command::Operand(operands.swap_remove(0)),
    };
    Ok((command, rest))
}

/// None for what may be the name of a function.
fn operand(word: &str) -> Result<Option<Operand>, Error> {
    if let Some(name) = word.strip_prefix("$labels.").or_else(|| word.strip_prefix(".Labels.")) {
        return Ok(Some(Operand::Label(name.to_owned())));
    }
    if let Some(name) =
        word.strip_prefix("$externalLabels.").or_else(|| word.strip_prefix(".ExternalLabels."))
    {
        return Ok(Some(Operand::ExternalLabel(name.to_owned())));
    }
    match word {
        "$value" | ".Value" => Ok(Some(Operand::Value)),
        "$labels" | ".Labels" | "$externalLabels" | "." => {
            Err(Error::Unsupported(format!("{word} without a name")))
        }
        "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" => {
            Err(Error::Unsupported(word.to_owned()))
        }
        _ if word.starts_with(['$', '.']) => Err(Error::Unsupported(word.to_owned())),
        _ => Ok(word.parse().ok().filter(|_| !word.starts_with(char::is_alphabetic)).map(Operand::Number)),
    }
}
