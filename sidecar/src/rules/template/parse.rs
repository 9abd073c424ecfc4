//! From tokens to a tree, as Go's `text/template/parse` builds it. Names are resolved here: an unknown function or
//! variable is refused when the rule file is loaded.

use std::collections::BTreeMap;

use super::{
    Error,
    functions::{self, Function},
    lex::{Kind, Piece, Token, pieces},
    value::Value,
};

/// Nesting of parentheses and of blocks.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Branches),
    With(Branches),
    Range(Branches),
    Template(String, Option<Pipeline>),
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(super) struct Branches {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Each command's result is the last argument of the next.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    /// One, or two in a `range`.
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Dot,
    Constant(Value),
    Variable(String),
    Function(Function),
    Field(Box<Operand>, String),
    Nested(Pipeline),
}

/// The tree and what `define` and `block` named.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) root: Vec<Node>,
    pub(super) named: BTreeMap<String, Vec<Node>>,
}

/// How a list of nodes ended.
#[derive(Debug, PartialEq)]
enum End {
    OfInput,
    OfBlock,
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// In scope.
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    named: BTreeMap<String, Vec<Node>>,
}

fn syntax<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Syntax(message.into()))
}

pub(super) fn tree(text: &str) -> Result<Tree, Error> {
    let known = ["$", "$labels", "$externalLabels", "$externalURL", "$value"];
    let mut parser = Parser {
        pieces: pieces(text)?.into_iter(),
        variables: known.map(str::to_owned).to_vec(),
        loops: 0,
        depth: 0,
        named: BTreeMap::new(),
    };
    match parser.list()? {
        (root, End::OfInput) => Ok(Tree { root, named: parser.named }),
        (_, End::OfBlock) => syntax("unexpected {{end}}"),
        (_, End::Else(_)) => syntax("unexpected {{else}}"),
    }
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, End), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return syntax("blocks are nested too deeply");
        }
        let mut nodes = Vec::new();
        let end = loop {
            let tokens = match self.pieces.next() {
                None => break End::OfInput,
                Some(Piece::Text(text)) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Some(Piece::Action(tokens)) => tokens,
            };
            let keyword = match tokens.first().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = tokens.get(1..).unwrap_or_default();
            match keyword.as_str() {
                "end" if rest.is_empty() => break End::OfBlock,
                "end" => return syntax("unexpected text in end"),
                "else" => break End::Else(rest.to_vec()),
                "if" => nodes.push(Node::If(self.branches(rest, false)?)),
                "with" => nodes.push(Node::With(self.branches(rest, false)?)),
                "range" => nodes.push(Node::Range(self.branches(rest, true)?)),
                "define" => {
                    let (name, rest) = quoted_name(rest)?;
                    if !rest.is_empty() {
                        return syntax("unexpected text in define clause");
                    }
                    self.define(name)?;
                }
                "block" => {
                    let (name, rest) = quoted_name(rest)?;
                    let pipeline = self.whole_pipeline(rest)?;
                    self.define(name.clone())?;
                    nodes.push(Node::Template(name, Some(pipeline)));
                }
                "template" => {
                    let (name, rest) = quoted_name(rest)?;
                    let pipeline = if rest.is_empty() { None } else { Some(self.whole_pipeline(rest)?) };
                    nodes.push(Node::Template(name, pipeline));
                }
                "break" | "continue" if rest.is_empty() => {
                    if self.loops == 0 {
                        return syntax(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                    }
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                _ => nodes.push(Node::Print(self.whole_pipeline(&tokens)?)),
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn branches(&mut self, condition: &[Token], loops: bool) -> Result<Branches, Error> {
        let scope = self.variables.len();
        let pipeline = self.whole_pipeline(condition)?;
        if pipeline.variables.len() > 1 && !loops {
            return syntax("too many declarations");
        }
        self.loops += usize::from(loops);
        let (body, end) = self.list()?;
        self.loops -= usize::from(loops);
        let otherwise = match end {
            End::OfInput => return syntax("unexpected EOF"),
            End::OfBlock => Vec::new(),
            End::Else(tokens) if tokens.is_empty() => match self.list()? {
                (otherwise, End::OfBlock) => otherwise,
                (_, End::OfInput) => return syntax("unexpected EOF"),
                (_, End::Else(_)) => return syntax("expected end; found {{else}}"),
            },
            // `{{else if}}` and `{{else with}}` share the `{{end}}`.
            End::Else(tokens) => match &tokens[0].kind {
                Kind::Word(word) if word == "if" && !loops => {
                    vec![Node::If(self.branches(&tokens[1..], false)?)]
                }
                Kind::Word(word) if word == "with" && !loops => {
                    vec![Node::With(self.branches(&tokens[1..], false)?)]
                }
                _ => return syntax("unexpected text in else"),
            },
        };
        self.variables.truncate(scope);
        Ok(Branches { pipeline, body, otherwise })
    }

    fn define(&mut self, name: String) -> Result<(), Error> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, end) = self.list()?;
        (self.variables, self.loops) = (outside, loops);
        if end != End::OfBlock {
            return syntax(format!("unexpected end of the definition of {name:?}"));
        }
        self.named.insert(name, body);
        Ok(())
    }

    fn whole_pipeline(&mut self, tokens: &[Token]) -> Result<Pipeline, Error> {
        match self.pipeline(tokens, 0)? {
            (pipeline, []) => Ok(pipeline),
            _ => syntax("unexpected right paren"),
        }
    }

    /// Reads up to the end or an unmatched `)`; returns what is left.
    fn pipeline<'t>(&mut self, tokens: &'t [Token], depth: usize) -> Result<(Pipeline, &'t [Token]), Error> {
        if depth > MAX_DEPTH {
            return syntax("parentheses are nested too deeply");
        }
        let (variables, assigns, mut rest) = declaration(tokens);
        for name in variables.iter().filter(|_| assigns) {
            self.known(name)?;
        }
        let mut commands = Vec::new();
        loop {
            let (command, after) = self.command(rest, depth, commands.is_empty())?;
            commands.push(command);
            match after.first().map(|token| &token.kind) {
                Some(Kind::Pipe) => rest = &after[1..],
                _ => {
                    if !assigns {
                        self.variables.extend(variables.iter().cloned());
                    }
                    return Ok((Pipeline { variables, assigns, commands }, after));
                }
            }
        }
    }

    fn command<'t>(
        &mut self,
        tokens: &'t [Token],
        depth: usize,
        first: bool,
    ) -> Result<(Vec<Operand>, &'t [Token]), Error> {
        let mut rest = tokens;
        let mut operands = Vec::new();
        while let Some(token) = rest.first() {
            let mut after = &rest[1..];
            let mut operand = match &token.kind {
                Kind::Pipe | Kind::Close => break,
                Kind::Open => {
                    let (nested, left) = self.pipeline(after, depth + 1)?;
                    match left.first().map(|token| &token.kind) {
                        Some(Kind::Close) => after = &left[1..],
                        _ => return syntax("unclosed left paren"),
                    }
                    Operand::Nested(nested)
                }
                Kind::Word(word) => named_operand(word)?,
                Kind::Field(name) => Operand::Field(Box::new(Operand::Dot), name.clone()),
                Kind::Variable(name) => {
                    self.known(name)?;
                    Operand::Variable(name.clone())
                }
                Kind::Dot => Operand::Dot,
                Kind::Constant(value) => Operand::Constant(value.clone()),
                Kind::Declare | Kind::Assign | Kind::Comma => return syntax("unexpected token in operand"),
            };
            while let Some(Token { kind: Kind::Field(name), spaced: false }) = after.first() {
                if matches!(operand, Operand::Constant(_) | Operand::Function(_)) {
                    return syntax(format!("unexpected .{name} after term"));
                }
                operand = Operand::Field(Box::new(operand), name.clone());
                after = &after[1..];
            }
            operands.push(operand);
            rest = after;
        }
        match operands.first() {
            None => syntax("missing value for command"),
            Some(Operand::Constant(_)) if !first => syntax("non executable command in pipeline"),
            _ => Ok((operands, rest)),
        }
    }

    fn known(&self, name: &str) -> Result<(), Error> {
        match self.variables.iter().any(|known| known == name) {
            true => Ok(()),
            false => syntax(format!("undefined variable {name:?}")),
        }
    }
}

fn named_operand(word: &str) -> Result<Operand, Error> {
    Ok(match word {
        "true" => Operand::Constant(Value::Bool(true)),
        "false" => Operand::Constant(Value::Bool(false)),
        "nil" => Operand::Constant(Value::Nil),
        _ => match functions::find(word) {
            Some(function) => Operand::Function(function),
            None => return syntax(format!("function {word:?} not defined")),
        },
    })
}

/// `$x :=`, `$x =` or `$i, $x :=` at the start.
fn declaration(tokens: &[Token]) -> (Vec<String>, bool, &[Token]) {
    let kind = |index: usize| tokens.get(index).map(|token| &token.kind);
    let (names, operator) = match (kind(0), kind(1), kind(2), kind(3)) {
        (Some(Kind::Variable(a)), Some(Kind::Comma), Some(Kind::Variable(b)), Some(operator)) => {
            (vec![a.clone(), b.clone()], operator)
        }
        (Some(Kind::Variable(a)), Some(operator), ..) => (vec![a.clone()], operator),
        _ => return (Vec::new(), false, tokens),
    };
    let length = names.len() * 2;
    match operator {
        Kind::Declare => (names, false, &tokens[length..]),
        Kind::Assign => (names, true, &tokens[length..]),
        _ => (Vec::new(), false, tokens),
    }
}

fn quoted_name(tokens: &[Token]) -> Result<(String, &[Token]), Error> {
    match tokens.first().map(|token| &token.kind) {
        Some(Kind::Constant(Value::Text(name))) => Ok((name.clone(), &tokens[1..])),
        _ => syntax("the name of a template must be a quoted string"),
    }
}
