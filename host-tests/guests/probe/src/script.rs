//! Scripts: what to call in which callback.
//!
//! A line that ends with a colon begins the block of a callback: `request_body:` for all of them,
//! `request_body#2:` for the second one of a context, `2/request_body:` for the second stream's. The
//! most exact block wins. Other lines are calls, `variable = call`, or one of `name WORD`, `return N`,
//! `say TEXT`, `exit N`, `trap`. A line that begins with `;` is a comment.

/// A part of a script: one callback's lines.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Block {
    pub(crate) phase: String,
    /// The how-manieth call of the callback in its context; `None` is any.
    pub(crate) occurrence: Option<u32>,
    /// The how-manieth stream of its plugin; `None` is any.
    pub(crate) stream: Option<u32>,
    pub(crate) lines: Vec<Line>,
}

/// A line, with what it was written as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) what: What,
}

/// What a line means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// Calls a host function.
    Call {
        /// Keeps the first number that comes out under this name.
        variable: Option<String>,
        function: String,
        arguments: Vec<Argument>,
    },
    /// Ends with `proc_exit`.
    Exit(i32),
    /// Could not be read; why.
    Mistake(&'static str),
    /// Names the plugin in every line of the log.
    Name(String),
    /// What the callback returns.
    Return(i32),
    /// Logs a text.
    Say(String),
    /// Traps.
    Trap,
}

/// An argument of a call. Texts and maps stand for two: address and size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Argument {
    Number(i64),
    /// `$name`: what an earlier call gave, or `$self`, `$root`, `$stream`.
    Variable(String),
    /// `"text"`, with `\n`, `\0`, `\x41`, `\"` and `\\`; `"a"*100` repeats.
    Text(Vec<u8>),
    /// `{name=value; name=value}`, encoded as the ABI says.
    Map(Vec<(Vec<u8>, Vec<u8>)>),
    /// `["one" "two"]`: pieces for `fd_write`.
    Pieces(Vec<Vec<u8>>),
    /// A cell that the host writes to. `shown` is false for `&u32?`: the value differs from run to run.
    Out {
        kind: Out,
        shown: bool,
    },
}

/// What the host writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Out {
    U32,
    U64,
    /// Address and size of bytes: two arguments.
    Data,
    /// The same, of a map.
    Pairs,
    /// The same, of a map that has no order of its own.
    Map,
    /// So many bytes in place.
    Bytes(u32),
}

/// Reads a script. What cannot be read becomes a [`What::Mistake`], which shows when it is run.
pub(crate) fn parse(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        if let Some(block) = line.strip_suffix(':').and_then(header) {
            blocks.push(block);
            continue;
        }
        let what = read(line).unwrap_or_else(What::Mistake);
        let line = Line {
            text: line.to_owned(),
            what,
        };
        if let Some(block) = blocks.last_mut() {
            block.lines.push(line);
        }
    }
    blocks
}

fn header(text: &str) -> Option<Block> {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let (stream, rest) = match text.split_once('/') {
        Some((stream, rest)) => (Some(stream.parse().ok()?), rest),
        None => (None, text),
    };
    let (phase, occurrence) = match rest.split_once('#') {
        Some((phase, number)) => (phase, Some(number.parse().ok()?)),
        None => (rest, None),
    };
    word(phase).then(|| Block {
        phase: phase.to_owned(),
        occurrence,
        stream,
        lines: Vec::new(),
    })
}

fn read(line: &str) -> Result<What, &'static str> {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match first {
        "name" => return Ok(What::Name(rest.to_owned())),
        "return" => return rest.parse().map(What::Return).map_err(|_| "no number"),
        "exit" => return rest.parse().map(What::Exit).map_err(|_| "no number"),
        "say" => return Ok(What::Say(rest.to_owned())),
        "trap" => return Ok(What::Trap),
        _ => {}
    }
    let (variable, call) = match rest.strip_prefix("= ") {
        Some(call) => (Some(first.to_owned()), call),
        None => (None, line),
    };
    let (function, mut rest) = call.split_once(char::is_whitespace).unwrap_or((call, ""));
    let mut arguments = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let (argument, left) = argument(rest)?;
        arguments.push(argument);
        rest = left;
    }
    Ok(What::Call {
        variable,
        function: function.to_owned(),
        arguments,
    })
}

fn argument(text: &str) -> Result<(Argument, &str), &'static str> {
    if text.starts_with('"') {
        let (bytes, rest) = quoted(text)?;
        let Some(rest) = rest.strip_prefix('*') else {
            return Ok((Argument::Text(bytes), rest));
        };
        let (count, rest) = word(rest);
        let count: usize = count.parse().map_err(|_| "no count")?;
        return Ok((Argument::Text(bytes.repeat(count)), rest));
    }
    if let Some(inner) = text.strip_prefix('{') {
        let (map, rest) = inner.split_once('}').ok_or("no closing brace")?;
        return Ok((Argument::Map(entries(map)?), rest));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let mut pieces = Vec::new();
        let mut rest = inner.trim_start();
        while !rest.starts_with(']') {
            let (piece, left) = quoted(rest)?;
            pieces.push(piece);
            rest = left.trim_start();
        }
        return Ok((
            Argument::Pieces(pieces),
            rest.strip_prefix(']').unwrap_or_default(),
        ));
    }
    let (word, rest) = word(text);
    if let Some(out) = word.strip_prefix('&') {
        let (name, shown) = match out.strip_suffix('?') {
            Some(name) => (name, false),
            None => (out, true),
        };
        let kind = match name {
            "u32" => Out::U32,
            "u64" => Out::U64,
            "data" => Out::Data,
            "pairs" => Out::Pairs,
            "map" => Out::Map,
            _ => {
                let size = name
                    .strip_prefix("bytes:")
                    .and_then(|size| size.parse().ok());
                Out::Bytes(size.ok_or("no such cell")?)
            }
        };
        return Ok((Argument::Out { kind, shown }, rest));
    }
    if let Some(name) = word.strip_prefix('$') {
        return Ok((Argument::Variable(name.to_owned()), rest));
    }
    let number = match word.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    Ok((Argument::Number(number.map_err(|_| "no argument")?), rest))
}

fn word(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

fn quoted(text: &str) -> Result<(Vec<u8>, &str), &'static str> {
    const OPEN: &str = "no closing quote";
    let mut rest = text.strip_prefix('"').ok_or("no quote")?;
    let mut bytes = Vec::new();
    loop {
        let mut letters = rest.chars();
        let letter = letters.next().ok_or(OPEN)?;
        rest = letters.as_str();
        match letter {
            '"' => return Ok((bytes, rest)),
            '\\' => {
                let mut letters = rest.chars();
                let escaped = letters.next().ok_or(OPEN)?;
                rest = letters.as_str();
                match escaped {
                    'n' => bytes.push(b'\n'),
                    'r' => bytes.push(b'\r'),
                    '0' => bytes.push(0),
                    'x' => {
                        let (digits, left) = rest.split_at_checked(2).ok_or(OPEN)?;
                        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "no digits")?);
                        rest = left;
                    }
                    '"' | '\\' => {
                        bytes.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes())
                    }
                    _ => return Err("no such escape"),
                }
            }
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Name and value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

fn entries(text: &str) -> Result<Vec<Entry>, &'static str> {
    let bytes = |part: &str| -> Result<Vec<u8>, &'static str> {
        if !part.contains('\\') {
            return Ok(part.as_bytes().to_vec());
        }
        quoted(&format!("\"{part}\"")).map(|(bytes, _)| bytes)
    };
    text.split(';')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (name, value) = entry.split_once('=').ok_or("no value")?;
            Ok((bytes(name)?, bytes(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(line: &str) -> What {
        let blocks = parse(&format!("tick:\n{line}"));
        blocks[1].lines[0].what.clone()
    }

    #[test]
    fn blocks_begin_with_the_callback_its_occurrence_and_its_stream() {
        let blocks = parse("name a\n; nothing\ntick:\n return 1\n2/request_body#3:\ntrap");
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks[0].lines[0].what, What::Name("a".to_owned()));
        assert_eq!(
            (blocks[1].phase.as_str(), blocks[1].occurrence),
            ("tick", None)
        );
        assert_eq!(blocks[1].lines[0].what, What::Return(1));
        assert_eq!(
            (
                blocks[2].phase.as_str(),
                blocks[2].occurrence,
                blocks[2].stream
            ),
            ("request_body", Some(3), Some(2))
        );
    }

    #[test]
    fn arguments_are_numbers_texts_maps_cells_and_variables() {
        let What::Call {
            variable,
            function,
            arguments,
        } = only(
            r#"id = f 1 -1 0xff "a\n\x41\"" "ab"*3 {:path=/; b=\x00} ["x" "yz"] &u32 &data? &bytes:12 $self"#,
        )
        else {
            panic!("no call");
        };
        assert_eq!((variable.as_deref(), function.as_str()), (Some("id"), "f"));
        let out = |kind, shown| Argument::Out { kind, shown };
        assert_eq!(
            arguments,
            [
                Argument::Number(1),
                Argument::Number(-1),
                Argument::Number(255),
                Argument::Text(b"a\nA\"".to_vec()),
                Argument::Text(b"ababab".to_vec()),
                Argument::Map(vec![
                    (b":path".to_vec(), b"/".to_vec()),
                    (b"b".to_vec(), vec![0])
                ]),
                Argument::Pieces(vec![b"x".to_vec(), b"yz".to_vec()]),
                out(Out::U32, true),
                out(Out::Data, false),
                out(Out::Bytes(12), true),
                Argument::Variable("self".to_owned()),
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_mistake_and_nothing_else_is_lost() {
        for line in [
            "f \"open",
            "f nonsense",
            "f &u7",
            "return x",
            "f {a}",
            "f \"\\q\"",
        ] {
            assert!(matches!(only(line), What::Mistake(_)), "{line}");
        }
    }
}
