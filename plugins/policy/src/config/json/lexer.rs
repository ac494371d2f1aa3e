//! The words of JSON.

use alloc::string::String;

use super::error::ShapeError;

/// Goes through a text word by word; white space between words is skipped.
pub(super) struct Lexer<'t> {
    text: &'t str,
    /// Is always at a character's boundary.
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, offset: 0 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// Says that the text stops being JSON here.
    pub(super) fn syntax(&self, rule: &str) -> ShapeError {
        ShapeError::syntax(rule, self.offset)
    }

    /// Looks at the next byte that is not white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.offset = self
            .offset
            .saturating_add(rest.len().saturating_sub(trimmed.len()));
        trimmed.bytes().next()
    }

    /// Goes over the byte that was looked at, which must be ASCII.
    pub(super) fn skip(&mut self) {
        self.offset = self.offset.saturating_add(1);
    }

    /// Expects the end.
    pub(super) fn end(&mut self) -> Result<(), ShapeError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax("something follows the end")),
        }
    }

    /// Expects a word such as `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), ShapeError> {
        if !self.rest().starts_with(word) {
            return Err(self.syntax("this is no value"));
        }
        self.offset = self.offset.saturating_add(word.len());
        Ok(())
    }

    pub(super) fn boolean(&mut self) -> Result<bool, ShapeError> {
        if self.rest().starts_with('t') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// Goes to the next item or field; `false` when `close` ends them instead.
    pub(super) fn next_member(&mut self, close: u8, first: bool) -> Result<bool, ShapeError> {
        match self.peek() {
            Some(byte) if byte == close => {
                self.skip();
                return Ok(false);
            }
            Some(b',') if !first => {
                self.skip();
                if self.peek() == Some(close) {
                    return Err(self.syntax("a comma is too many"));
                }
            }
            Some(_) if first => {}
            Some(_) => return Err(self.syntax("a comma or a bracket is missing")),
            None => return Err(self.syntax("the end is missing")),
        }
        Ok(true)
    }

    /// Reads a field's name and the colon.
    pub(super) fn key(&mut self) -> Result<String, ShapeError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax("a field's name in quotes is missing"));
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.syntax("a colon is missing"));
        }
        self.skip();
        Ok(key)
    }

    /// Reads a number's text: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
    pub(super) fn number(&mut self) -> Result<&'t str, ShapeError> {
        let text = self.rest();
        let start = text.strip_prefix('-').unwrap_or(text);
        let Some(mut rest) = digits(start) else {
            return Err(self.syntax("this is no value"));
        };
        let whole = start.len().saturating_sub(rest.len());
        if start.starts_with('0') && whole > 1 {
            return Err(self.syntax("a number begins with 0"));
        }
        if let Some(fraction) = rest.strip_prefix('.') {
            rest = digits(fraction).ok_or_else(|| self.syntax("a digit is missing"))?;
        }
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            rest = digits(exponent).ok_or_else(|| self.syntax("a digit is missing"))?;
        }
        let length = text.len().saturating_sub(rest.len());
        self.offset = self.offset.saturating_add(length);
        Ok(text.get(..length).unwrap_or_default())
    }

    /// Reads a string whose quote is next.
    pub(super) fn string(&mut self) -> Result<String, ShapeError> {
        self.skip();
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
                .unwrap_or(rest.len());
            let (head, tail) = rest.split_at_checked(plain).unwrap_or((rest, ""));
            string.push_str(head);
            self.offset = self.offset.saturating_add(head.len());
            match tail.bytes().next() {
                Some(b'"') => {
                    self.skip();
                    return Ok(string);
                }
                Some(b'\\') => {
                    self.skip();
                    string.push(self.escape()?);
                }
                Some(_) => return Err(self.syntax("a control character stands in a string")),
                None => return Err(self.syntax("a quote is missing")),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, ShapeError> {
        let escaped = match self.rest().bytes().next() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.skip();
                return self.unicode();
            }
            _ => return Err(self.syntax("a backslash escapes nothing")),
        };
        self.skip();
        Ok(escaped)
    }

    /// Reads four digits of an escaped character, and four more where they are half of one.
    fn unicode(&mut self) -> Result<char, ShapeError> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.word("\\u")
                .map_err(|_| self.syntax("half of a character is missing"))?;
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.syntax("half of a character is missing"));
            }
            // SOURCE: RFC 8259 section 7, UTF-16 surrogate pairs.
            0x1_0000_u32
                .saturating_add(first.saturating_sub(0xd800).saturating_mul(0x400))
                .saturating_add(second.saturating_sub(0xdc00))
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.syntax("half of a character is missing"))
    }

    fn four_digits(&mut self) -> Result<u32, ShapeError> {
        let digits = self
            .rest()
            .get(..4)
            .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.syntax("four hexadecimal digits are missing"))?;
        self.offset = self.offset.saturating_add(4);
        Ok(code)
    }
}

/// Goes over one digit at least; `None` where there is none.
fn digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|character: char| character.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}
