//! Walks through JSON that an untrusted source wrote, in pieces, without a tree.
//!
//! Why: an answer with 10 000 endpoints has megabytes. A tree of it costs several times that in a
//! VM whose memory never shrinks, and reading it at once holds up the worker's streams.
//! Model: a table `node x name -> node` ([`Node`]) says what is known; everything else is stepped
//! over. A step reads one token, so a walk may stop behind any of them and go on later.
//! Limits: a token has at most [`MAX_TOKEN_BYTES`], brackets nest at most [`MAX_DEPTH`] deep, and a
//! known field must not be there twice. `null` is like an absent field. What stands in skipped
//! text is checked for JSON's form, not for UTF-8.
//! Cost: O(bytes), and 24 bytes per open bracket.

use alloc::{borrow::Cow, string::String, vec::Vec};

use super::refusal::{Refused, Why};

/// Is the longest token in bytes: a name, a text, a number or a run of white space.
///
/// It is also what one call may read more than its budget. Envoy's longest text here is a cluster's
/// name, which Kubernetes keeps under 300 bytes.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// Is how deep brackets may nest; Envoy's own answer needs 7 levels.
pub const MAX_DEPTH: usize = 16;

/// Says what stands at a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    Array,
    Flag,
    /// A whole number of at most 64 bits; also as text, as JSON of protobuf has large ones.
    Number,
    Object,
    Text,
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Array => "an array",
            Self::Flag => "a boolean",
            Self::Number => "a whole number",
            Self::Object => "an object",
            Self::Text => "a string",
        }
    }
}

/// Is a place in a document that somebody wants to know about.
pub(super) trait Node: Copy {
    /// Is the whole document.
    const ROOT: Self;
    /// Is the field of that name of the object here; `None` where nobody wants it.
    fn field(self, name: &str) -> Option<Self>;
    /// Is what the array here holds.
    fn item(self) -> Option<Self>;
    /// Is what must stand here.
    fn shape(self) -> Shape;
    /// Is what a message calls it.
    fn name(self) -> &'static str;
    /// Is a number below 32 that differs from its siblings'.
    fn index(self) -> u32;
}

/// Is something wanted that a step found.
#[derive(Debug)]
pub(super) enum Event<'b, N> {
    /// The object or array begins.
    Begin(N),
    /// It ends.
    End(N),
    Flag(N, bool),
    Number(N, u64),
    Text(N, Cow<'b, str>),
}

/// Is what one step came to.
#[derive(Debug)]
pub(super) enum Step<'b, N> {
    Event(Event<'b, N>),
    /// The document is over and nothing follows.
    Finished,
    /// Nothing that anybody wants.
    Quiet,
}

/// Says what may come next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Colon,
    CommaOrEnd,
    Key,
    KeyOrEnd,
    Nothing,
    Value,
    ValueOrEnd,
}

/// Is an open bracket.
#[derive(Debug)]
struct Level<N> {
    node: Option<N>,
    is_object: bool,
    /// Has a bit for every known field that was there.
    seen: u32,
    /// Is the field whose value comes next.
    key: Option<N>,
}

/// Is a walk: where it is, and what is open there.
#[derive(Debug)]
pub(super) struct Walk<N> {
    offset: usize,
    expected: Expected,
    levels: Vec<Level<N>>,
}

impl<N: Node> Walk<N> {
    pub(super) const fn new() -> Self {
        Self {
            offset: 0,
            expected: Expected::Value,
            levels: Vec::new(),
        }
    }

    /// Is how many bytes lie behind it.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// Refuses what stands here.
    pub(super) const fn refuse(&self, why: Why) -> Refused {
        Refused::new(why, self.offset)
    }

    /// Reads one token of the whole document `bytes`, which must be the same in every call.
    pub(super) fn step<'b>(&mut self, bytes: &'b [u8]) -> Result<Step<'b, N>, Refused> {
        let rest = bytes.get(self.offset..).unwrap_or_default();
        let Some(byte) = rest.first().copied() else {
            return match self.expected {
                Expected::Nothing => Ok(Step::Finished),
                _ => Err(self.refuse(Why::Truncated)),
            };
        };
        if is_space(byte) {
            let bounded = rest.get(..MAX_TOKEN_BYTES).unwrap_or(rest);
            self.skip(bounded.iter().take_while(|byte| is_space(**byte)).count());
            return Ok(Step::Quiet);
        }
        match (self.expected, byte) {
            (Expected::KeyOrEnd, b'}') | (Expected::ValueOrEnd, b']') => Ok(self.leave()),
            (Expected::CommaOrEnd, _) => self.comma_or_end(byte),
            (Expected::Key | Expected::KeyOrEnd, b'"') => self.key(rest),
            (Expected::Colon, b':') => {
                self.skip(1);
                self.expected = Expected::Value;
                Ok(Step::Quiet)
            }
            (Expected::Value | Expected::ValueOrEnd, _) => self.value(byte, rest),
            (Expected::Nothing, _) => Err(self.refuse(Why::Syntax("something follows the end"))),
            (Expected::Colon | Expected::Key | Expected::KeyOrEnd, _) => {
                Err(self.refuse(Why::Syntax("an object needs a name, a colon and a value")))
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.offset = self.offset.saturating_add(bytes);
    }

    fn comma_or_end<'b>(&mut self, byte: u8) -> Result<Step<'b, N>, Refused> {
        let is_object = self.levels.last().is_some_and(|level| level.is_object);
        match (is_object, byte) {
            (true, b'}') | (false, b']') => Ok(self.leave()),
            (_, b',') => {
                self.skip(1);
                self.expected = if is_object {
                    Expected::Key
                } else {
                    Expected::Value
                };
                Ok(Step::Quiet)
            }
            _ => Err(self.refuse(Why::Syntax("a comma or a closing bracket is missing"))),
        }
    }

    /// Goes out of the innermost bracket.
    fn leave<'b>(&mut self) -> Step<'b, N> {
        self.skip(1);
        let left = self.levels.pop().and_then(|level| level.node);
        self.value_is_over();
        left.map_or(Step::Quiet, |node| Step::Event(Event::End(node)))
    }

    fn value_is_over(&mut self) {
        self.expected = if self.levels.is_empty() {
            Expected::Nothing
        } else {
            Expected::CommaOrEnd
        };
    }

    fn key<'b>(&mut self, rest: &[u8]) -> Result<Step<'b, N>, Refused> {
        let raw = self.string(rest)?;
        let name = self.text(raw)?;
        let mut is_twice = None;
        if let Some(level) = self.levels.last_mut() {
            level.key = level.node.and_then(|node| node.field(&name));
            if let Some(node) = level.key {
                let bit = 1_u32.wrapping_shl(node.index());
                is_twice = (level.seen & bit != 0).then_some(node);
                level.seen |= bit;
            }
        }
        if let Some(node) = is_twice {
            return Err(self.refuse(Why::FieldTwice { field: node.name() }));
        }
        self.skip(raw.len().saturating_add(2));
        self.expected = Expected::Colon;
        Ok(Step::Quiet)
    }

    /// Is the node of the value that comes.
    fn node(&self) -> Option<N> {
        match self.levels.last() {
            None => Some(N::ROOT),
            Some(level) if level.is_object => level.key,
            Some(level) => level.node.and_then(Node::item),
        }
    }

    fn value<'b>(&mut self, byte: u8, rest: &'b [u8]) -> Result<Step<'b, N>, Refused> {
        let node = self.node();
        match byte {
            b'{' => self.enter(node, Shape::Object),
            b'[' => self.enter(node, Shape::Array),
            b'"' => self.string_value(node, rest),
            b't' => self.word(node, rest, b"true", Some(true)),
            b'f' => self.word(node, rest, b"false", Some(false)),
            b'n' => self.word(node, rest, b"null", None),
            _ => self.number(node, rest),
        }
    }

    fn enter<'b>(&mut self, node: Option<N>, shape: Shape) -> Result<Step<'b, N>, Refused> {
        if let Some(node) = node.filter(|node| node.shape() != shape) {
            return Err(self.mismatch(node));
        }
        if self.levels.len() >= MAX_DEPTH {
            return Err(self.refuse(Why::TooDeep));
        }
        let is_object = shape == Shape::Object;
        self.levels.push(Level {
            node,
            is_object,
            seen: 0,
            key: None,
        });
        self.skip(1);
        self.expected = if is_object {
            Expected::KeyOrEnd
        } else {
            Expected::ValueOrEnd
        };
        Ok(node.map_or(Step::Quiet, |node| Step::Event(Event::Begin(node))))
    }

    fn mismatch(&self, node: N) -> Refused {
        self.refuse(Why::WrongType {
            field: node.name(),
            wanted: node.shape().name(),
        })
    }

    fn string_value<'b>(
        &mut self,
        node: Option<N>,
        rest: &'b [u8],
    ) -> Result<Step<'b, N>, Refused> {
        let raw = self.string(rest)?;
        let step = match node {
            None => Step::Quiet,
            Some(node) => match node.shape() {
                Shape::Text => Step::Event(Event::Text(node, self.text(raw)?)),
                Shape::Number => Step::Event(Event::Number(node, self.whole(node, raw)?)),
                Shape::Array | Shape::Flag | Shape::Object => return Err(self.mismatch(node)),
            },
        };
        self.skip(raw.len().saturating_add(2));
        self.value_is_over();
        Ok(step)
    }

    fn word<'b>(
        &mut self,
        node: Option<N>,
        rest: &[u8],
        word: &[u8],
        flag: Option<bool>,
    ) -> Result<Step<'b, N>, Refused> {
        if !rest.starts_with(word) {
            return Err(self.no_value(rest, word));
        }
        let step = match (node, flag) {
            (Some(node), Some(flag)) if node.shape() == Shape::Flag => {
                Step::Event(Event::Flag(node, flag))
            }
            (Some(node), Some(_)) => return Err(self.mismatch(node)),
            (None, _) | (_, None) => Step::Quiet,
        };
        self.skip(word.len());
        self.value_is_over();
        Ok(step)
    }

    /// Tells a word that is cut off from one that is none.
    fn no_value(&self, rest: &[u8], word: &[u8]) -> Refused {
        self.refuse(if word.starts_with(rest) {
            Why::Truncated
        } else {
            Why::Syntax("this is no value")
        })
    }

    fn number<'b>(&mut self, node: Option<N>, rest: &[u8]) -> Result<Step<'b, N>, Refused> {
        let bounded = rest.get(..=MAX_TOKEN_BYTES).unwrap_or(rest);
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = bounded.iter().take_while(|byte| is_part(byte)).count();
        if length > MAX_TOKEN_BYTES {
            return Err(self.refuse(Why::TokenTooLong));
        }
        let raw = rest.get(..length).unwrap_or_default();
        if !is_number(raw) {
            return Err(self.refuse(if length > 0 && length == rest.len() {
                Why::Truncated
            } else {
                Why::Syntax("this is no value")
            }));
        }
        let step = match node {
            None => Step::Quiet,
            Some(node) if node.shape() == Shape::Number => {
                Step::Event(Event::Number(node, self.whole(node, raw)?))
            }
            Some(node) => return Err(self.mismatch(node)),
        };
        self.skip(length);
        self.value_is_over();
        Ok(step)
    }

    fn whole(&self, node: N, digits: &[u8]) -> Result<u64, Refused> {
        let text = str::from_utf8(digits).unwrap_or_default();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.mismatch(node));
        }
        text.parse()
            .map_err(|_| self.refuse(Why::OutOfRange { field: node.name() }))
    }

    /// Is what stands between the quotes at the beginning of `rest`.
    fn string<'b>(&self, rest: &'b [u8]) -> Result<&'b [u8], Refused> {
        let inside = rest.get(1..).unwrap_or_default();
        let bounded = inside.get(..=MAX_TOKEN_BYTES).unwrap_or(inside);
        let mut is_escaped = false;
        for (length, byte) in bounded.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => return Ok(inside.get(..length).unwrap_or_default()),
                0..0x20 => {
                    return Err(self.refuse(Why::Syntax("a control character must be escaped")));
                }
                _ => {}
            }
        }
        Err(self.refuse(if bounded.len() > MAX_TOKEN_BYTES {
            Why::TokenTooLong
        } else {
            Why::Truncated
        }))
    }

    /// Is the text that `raw` means.
    fn text<'b>(&self, raw: &'b [u8]) -> Result<Cow<'b, str>, Refused> {
        let raw = str::from_utf8(raw).map_err(|_| self.refuse(Why::NotUtf8))?;
        if !raw.contains('\\') {
            return Ok(Cow::Borrowed(raw));
        }
        unescape(raw)
            .map(Cow::Owned)
            .ok_or_else(|| self.refuse(Why::Syntax("this is no escape sequence")))
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Says whether it is a number as JSON has them.
fn is_number(raw: &[u8]) -> bool {
    let raw = raw.strip_prefix(b"-").unwrap_or(raw);
    let (whole, rest) = digits(raw);
    if whole.is_empty() || (whole.len() > 1 && whole.first() == Some(&b'0')) {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => match digits(fraction) {
            ([], _) => return false,
            (_, rest) => rest,
        },
    };
    let Some(exponent) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) else {
        return rest.is_empty();
    };
    let exponent = exponent
        .strip_prefix(b"+")
        .or(exponent.strip_prefix(b"-"))
        .unwrap_or(exponent);
    matches!(digits(exponent), ([_, ..], []))
}

fn digits(raw: &[u8]) -> (&[u8], &[u8]) {
    let count = raw.iter().take_while(|byte| byte.is_ascii_digit()).count();
    raw.split_at_checked(count).unwrap_or((raw, &[]))
}

/// Resolves escape sequences; `None` for one that JSON does not have, or half of a surrogate pair.
fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match rest.next()? {
            escaped @ ('"' | '\\' | '/') => escaped,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = unit(&mut rest)?;
                let second = match first {
                    0xd800..0xdc00 => {
                        (rest.next()? == '\\' && rest.next()? == 'u').then_some(())?;
                        Some(unit(&mut rest)?)
                    }
                    _ => None,
                };
                char::decode_utf16(core::iter::once(first).chain(second))
                    .next()?
                    .ok()?
            }
            _ => return None,
        });
    }
    Some(text)
}

/// Reads four hexadecimal digits.
fn unit(rest: &mut core::str::Chars<'_>) -> Option<u16> {
    let mut value = 0_u32;
    for _ in 0..4 {
        value = value
            .wrapping_shl(4)
            .wrapping_add(rest.next()?.to_digit(16)?);
    }
    u16::try_from(value).ok()
}
