//! A position in an exposition. Knows bytes and line ends, not what they mean.

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.text.len());
    }

    /// Moves past `expected` if it comes next.
    pub(super) fn eat(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Everything since `start`. Both ends lie beside ASCII bytes, hence on character boundaries.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        self.at += rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.since(start)
    }

    /// Up to the next blank or line end.
    pub(super) fn token(&mut self) -> &'a str {
        self.take_while(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
    }

    /// What stands between double quotes, escapes untouched. None when it never ends.
    pub(super) fn quoted(&mut self) -> Option<&'a str> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            self.at += length;
            if rest[length] == b'"' {
                let inside = self.since(start);
                self.at += 1;
                return Some(inside);
            }
            self.at = (self.at + 2).min(self.text.len());
        }
    }

    /// The rest of the line; the line end is left.
    pub(super) fn rest_of_line(&mut self) -> &'a str {
        self.take_while(|byte| byte != b'\n')
    }

    /// Moves past `\n`, `\r\n` or to the end of the text.
    pub(super) fn end_line(&mut self) -> bool {
        if self.eat(b'\r') && self.peek().is_none() {
            return true;
        }
        self.peek().is_none() || self.eat(b'\n')
    }
}
