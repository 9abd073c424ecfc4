//! An explanation to be read in a terminal.

use std::fmt::{self, Display, Formatter};

use super::{
    report::{Explanation, Fix, LastFill, Object, Step, Variants},
    words::{bytes, span, title},
};

/// Where values stand.
const COLUMN: usize = 13;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        writeln!(f, "{} {}", self.request.method, self.request.target)?;
        for (name, value) in &self.request.fields {
            writeln!(f, "  {}: {value}", title(name))?;
        }
        writeln!(f)?;
        let outcome = verdict.outcome.to_uppercase();
        wrapped(f, &format!("{outcome} ({}): {}", verdict.reason, verdict.because))?;
        changes(f, &self.smallest_change, &self.alternatives)?;
        writeln!(f)?;
        row(f, "route", &format!("{}, {} {}", self.route.name, self.route.kind, self.route.template))?;
        row(f, "key", &self.key.text)?;
        if self.key.parts.len() > 1 {
            for (part, value) in &self.key.parts {
                row(f, "", &format!("{part:<10}{value}"))?;
            }
        }
        match &self.object {
            Some(object) => stored(f, object)?,
            None => row(f, "stored", "no")?,
        }
        for purge in &self.purges {
            let kind = if purge.soft { "soft purge" } else { "purge" };
            row(f, "purged", &format!("{kind} {} of {}", purge.sequence, purge.named))?;
        }
        if let Some(variants) = &self.variants {
            varying(f, variants)?;
        }
        if let Some(last) = &self.last_fill {
            filled(f, last, self.object.is_none())?;
        }
        table(f, "may it be stored?", &self.storability)?;
        table(f, "is it fresh?", &self.freshness)?;
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        for note in &self.notes {
            wrapped(f, &format!("note: {note}"))?;
        }
        match &self.source {
            Some(source) => write!(f, "\nIt is made of its source, whose lifetime it shares:\n\n{source}"),
            None => Ok(()),
        }
    }
}

fn changes(f: &mut Formatter<'_>, smallest: &[Fix], alternatives: &[Fix]) -> fmt::Result {
    if smallest.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nSmallest change that would make it a hit:")?;
    let marked = smallest.iter().map(|fix| ("->", fix)).chain(alternatives.iter().map(|fix| ("or", fix)));
    for (mark, Fix { who, how, .. }) in marked {
        match *who {
            "nobody" => wrapped(f, &format!("  {mark} {how}"))?,
            who => wrapped(f, &format!("  {mark} {who}: {how}"))?,
        }
    }
    Ok(())
}

/// In lines of bearable length.
fn wrapped(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    const WIDTH: usize = 100;
    const INDENT: &str = "     ";
    let mut column = 0;
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count() + 1;
        if column + length > WIDTH && column > INDENT.len() {
            write!(f, "\n{INDENT}{word}")?;
            column = INDENT.len() + length;
        } else {
            write!(f, "{}{word}", if at > 0 { " " } else { "" })?;
            column += length;
        }
    }
    writeln!(f)
}

fn stored(f: &mut Formatter<'_>, object: &Object) -> fmt::Result {
    let blocks = match object.blocks {
        Some((total, held)) => format!(", {held} of {total} blocks"),
        None => String::new(),
    };
    let (length, place) = (bytes(object.length), object.tiers.join(" and "));
    row(f, "stored", &format!("in {place}: status {}, {length}{blocks}", object.status))?;
    lines(f, &object.fields)
}

fn varying(f: &mut Formatter<'_>, variants: &Variants) -> fmt::Result {
    row(f, "varies by", &variants.by.join(", "))?;
    for (name, value) in &variants.asked {
        row(f, "", &format!("{name}: {} (this request)", value.as_deref().unwrap_or("absent")))?;
    }
    let mut shown = 0;
    for variant in variants.known.iter().filter(|variant| !variant.differs.is_empty()).take(5) {
        let place = if variant.tiers.is_empty() { "gone".to_owned() } else { variant.tiers.join(" and ") };
        let said = variant
            .differs
            .iter()
            .map(|(name, there, _)| format!("{name}: {}", there.as_deref().unwrap_or("absent")));
        let said = said.collect::<Vec<_>>().join(", ");
        row(f, "", &format!("{said} ({place}, {} ago)", span(variant.secs_ago * 1000)))?;
        shown += 1;
    }
    let others = variants.known.iter().filter(|variant| !variant.differs.is_empty()).count();
    match others - shown {
        0 => Ok(()),
        more => row(f, "", &format!("and {more} more")),
    }
}

fn filled(f: &mut Formatter<'_>, last: &LastFill, in_full: bool) -> fmt::Result {
    let became = match last.reason {
        Some(reason) => format!("{} ({reason})", last.became),
        None => last.became.to_owned(),
    };
    let ago = span(last.secs_ago * 1000);
    match (&last.origin, last.status) {
        (Some(origin), Some(status)) => {
            row(f, "last fill", &format!("{ago} ago from {origin}: status {status}, {became}"))?;
        }
        _ => row(f, "last fill", &format!("{ago} ago: {became}"))?,
    }
    if !last.asked_with.is_empty() {
        row(f, "", &format!("(asked with {})", last.asked_with.join(", ")))?;
    }
    if in_full { lines(f, &last.fields) } else { Ok(()) }
}

fn lines(f: &mut Formatter<'_>, fields: &[(String, String)]) -> fmt::Result {
    fields.iter().try_for_each(|(name, value)| row(f, "", &format!("{}: {value}", title(name))))
}

fn table(f: &mut Formatter<'_>, heading: &str, steps: &[Step]) -> fmt::Result {
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{heading}")?;
    let width = steps.iter().map(|step| step.what.len()).max().unwrap_or(0);
    for step in steps {
        let mark = match step.good {
            Some(true) => "+",
            Some(false) => "-",
            None => " ",
        };
        // Of a question, the mark is the answer.
        let value = if matches!(&*step.value, "yes" | "no") { "" } else { &step.value };
        let because = step.because.as_ref().map_or_else(String::new, |because| format!("  ({because})"));
        writeln!(f, "{}", format!("  {mark} {:<width$}  {value}{because}", step.what).trim_end())?;
    }
    Ok(())
}

fn row(f: &mut Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "{name:<COLUMN$}{value}")
}
