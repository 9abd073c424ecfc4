//! Walks the tree and writes the text. Bounded in steps and output; what goes wrong ends the expansion with a reason.

use std::collections::BTreeMap;

use super::{
    Data,
    functions::Function,
    parse::{Branches, Node, Operand, Pipeline, Tree},
    value::Value,
};

/// Bytes of one text.
const MAX_OUTPUT: usize = 64 * 1024;
/// Nodes visited.
const MAX_STEPS: usize = 100_000;
/// Templates calling templates.
const MAX_CALLS: usize = 64;

pub(super) struct Run<'a> {
    pub(super) data: Data<'a>,
    tree: &'a Tree,
    out: String,
    variables: Vec<(String, Value)>,
    steps: usize,
    calls: usize,
}

#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

pub(super) fn expand(tree: &Tree, data: Data<'_>) -> Result<String, String> {
    let labels = Value::labels(data.labels);
    let external_labels = Value::labels(&data.context.external_labels);
    let external_url = Value::Text(data.context.external_url.clone());
    let root = Value::Struct(BTreeMap::from([
        ("Labels", labels.clone()),
        ("ExternalLabels", external_labels.clone()),
        ("ExternalURL", external_url.clone()),
        ("Value", Value::Float(data.value)),
    ]));
    let variables = [
        ("$", root.clone()),
        ("$labels", labels),
        ("$externalLabels", external_labels),
        ("$externalURL", external_url),
        ("$value", Value::Float(data.value)),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut run = Run { data, tree, out: String::new(), variables, steps: 0, calls: 0 };
    run.nodes(&tree.root, &root)?;
    Ok(run.out)
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            self.steps += 1;
            if self.steps > MAX_STEPS || self.out.len() > MAX_OUTPUT {
                return Err("template yields too much".to_owned());
            }
            let scope = self.variables.len();
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::On
                }
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&value.text());
                    }
                    continue;
                }
                Node::If(branches) => {
                    let value = self.pipeline(&branches.pipeline, dot)?;
                    self.nodes(if value.is_true() { &branches.body } else { &branches.otherwise }, dot)?
                }
                Node::With(branches) => {
                    let value = self.pipeline(&branches.pipeline, dot)?;
                    match value.is_true() {
                        true => self.nodes(&branches.body, &value)?,
                        false => self.nodes(&branches.otherwise, dot)?,
                    }
                }
                Node::Range(branches) => self.range(branches, dot)?,
                Node::Template(name, pipeline) => self.template(name, pipeline.as_ref(), dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            self.variables.truncate(scope);
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn range(&mut self, branches: &Branches, dot: &Value) -> Result<Flow, String> {
        let pipeline = &branches.pipeline;
        let scope = self.variables.len();
        let ranged = self.commands(pipeline, dot)?;
        let items: Vec<(Value, Value)> = match ranged {
            Value::List(items) => {
                items.into_iter().enumerate().map(|(index, item)| (Value::Int(index as i64), item)).collect()
            }
            Value::Labels(map) | Value::Map(map) => {
                map.into_iter().map(|(name, value)| (Value::Text(name), value)).collect()
            }
            Value::Int(count) => {
                let count = count.clamp(0, MAX_STEPS as i64);
                (0..count).map(|index| (Value::Int(index), Value::Int(index))).collect()
            }
            Value::Nil => Vec::new(),
            other => return Err(format!("range can't iterate over {}", other.text())),
        };
        if items.is_empty() {
            return self.nodes(&branches.otherwise, dot);
        }
        for (key, item) in items {
            match pipeline.variables.as_slice() {
                [only] => self.set(only, item.clone(), pipeline.assigns)?,
                [first, second] => {
                    self.set(first, key, pipeline.assigns)?;
                    self.set(second, item.clone(), pipeline.assigns)?;
                }
                _ => {}
            }
            let flow = self.nodes(&branches.body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn template(&mut self, name: &str, pipeline: Option<&Pipeline>, dot: &Value) -> Result<Flow, String> {
        let tree = self.tree;
        let body = tree.named.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err("exceeded maximum template depth".to_owned());
        }
        let dot = match pipeline {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        let outside = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let done = self.nodes(body, &dot);
        self.variables = outside;
        self.calls -= 1;
        done.map(|_| Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assigns)?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn set(&mut self, name: &str, value: Value, assigns: bool) -> Result<(), String> {
        if !assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        known.map(|known| known.1 = value).ok_or_else(|| format!("undefined variable: {name}"))
    }

    fn command(&mut self, operands: &[Operand], dot: &Value, last: Option<Value>) -> Result<Value, String> {
        let [first, arguments @ ..] = operands else { return Err("empty command".to_owned()) };
        let Operand::Function(function) = first else {
            return match arguments.is_empty() && last.is_none() {
                true => self.operand(first, dot),
                false => Err("can't give argument to non-function".to_owned()),
            };
        };
        if let Function::Decides(on) = function {
            return self.decide(*on, arguments, dot, last);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        function.call(self.data, values)
    }

    /// `and` and `or` stop at the first argument whose truth is `on`.
    fn decide(
        &mut self,
        on: bool,
        arguments: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let mut value = Value::Nil;
        for argument in arguments {
            value = self.operand(argument, dot)?;
            if value.is_true() == on {
                return Ok(value);
            }
        }
        match (last, arguments.is_empty()) {
            (Some(last), _) => Ok(last),
            (None, true) => Err("wrong number of args: want at least 1 got 0".to_owned()),
            (None, false) => Ok(value),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable: {name}"))
            }
            Operand::Function(function) => function.call(self.data, Vec::new()),
            Operand::Field(of, name) => self.operand(of, dot)?.field(name),
            Operand::Nested(pipeline) => self.pipeline(pipeline, dot),
        }
    }
}
