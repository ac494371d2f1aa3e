//! The memory of one call: what the host reads from and writes to, and how what it wrote is shown.

use crate::abi;
use crate::script::{Argument, Entry, Out};

/// What a cell holds before the call: a value that no host writes by chance.
const UNTOUCHED: u8 = 0xa5;

/// Longer values are shown by their beginning, their size and a checksum.
const SHOWN_BYTES: usize = 400;

/// The memory of one call.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// What the host reads; kept until the call is over.
    inputs: Vec<Box<[u8]>>,
    outs: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    kind: Out,
    shown: bool,
    memory: Box<[u8]>,
}

fn address(memory: &[u8]) -> i64 {
    i64::try_from(memory.as_ptr().expose_provenance()).unwrap_or(0)
}

fn size(memory: &[u8]) -> i64 {
    i64::try_from(memory.len()).unwrap_or(0)
}

impl Cells {
    /// Lays an argument out and appends the numbers that stand for it.
    pub(crate) fn lay(
        &mut self,
        argument: &Argument,
        variable: impl FnOnce(&str) -> i64,
        numbers: &mut Vec<i64>,
    ) {
        match argument {
            Argument::Number(number) => numbers.push(*number),
            Argument::Variable(name) => numbers.push(variable(name)),
            Argument::Text(bytes) => self.input(bytes.clone(), None, numbers),
            Argument::Map(map) => self.input(encode(map), None, numbers),
            Argument::Pieces(pieces) => {
                let mut vectors = Vec::new();
                for piece in pieces {
                    let mut two = Vec::new();
                    self.input(piece.clone(), None, &mut two);
                    for number in two {
                        let number = u32::try_from(number).unwrap_or(0);
                        vectors.extend_from_slice(&number.to_le_bytes());
                    }
                }
                self.input(vectors, Some(pieces.len()), numbers);
            }
            Argument::Out { kind, shown } => self.out(*kind, *shown, numbers),
        }
    }

    fn input(&mut self, bytes: Vec<u8>, count: Option<usize>, numbers: &mut Vec<i64>) {
        let memory = bytes.into_boxed_slice();
        numbers.push(address(&memory));
        numbers
            .push(count.map_or_else(|| size(&memory), |count| i64::try_from(count).unwrap_or(0)));
        self.inputs.push(memory);
    }

    fn out(&mut self, kind: Out, shown: bool, numbers: &mut Vec<i64>) {
        let bytes = match kind {
            Out::U32 => 4,
            Out::U64 | Out::Data | Out::Pairs | Out::Map => 8,
            Out::Bytes(size) => size as usize,
        };
        let memory = vec![UNTOUCHED; bytes].into_boxed_slice();
        let at = address(&memory);
        numbers.push(at);
        if matches!(kind, Out::Data | Out::Pairs | Out::Map) {
            numbers.push(at.saturating_add(4));
        }
        self.outs.push(Cell {
            kind,
            shown,
            memory,
        });
    }

    /// The first number that came out.
    pub(crate) fn number(&self) -> Option<i64> {
        self.outs.iter().find_map(|cell| match cell.kind {
            Out::U32 => word(&cell.memory, 0).map(i64::from),
            Out::U64 => Some(i64::from_le_bytes(cell.memory.first_chunk().copied()?)),
            _ => None,
        })
    }

    /// The memory of a cell.
    pub(crate) fn memory(&self, index: usize) -> Option<&[u8]> {
        self.outs.get(index).map(|cell| &*cell.memory)
    }

    /// Writes what came out, each after a space.
    pub(crate) fn show(&self, into: &mut String) {
        for cell in &self.outs {
            into.push(' ');
            into.push_str(&cell.show());
        }
    }
}

fn word(memory: &[u8], at: usize) -> Option<u32> {
    let bytes = memory.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

impl Cell {
    fn show(&self) -> String {
        if self.memory.iter().all(|byte| *byte == UNTOUCHED) && !self.memory.is_empty() {
            return "untouched".to_owned();
        }
        match self.kind {
            Out::U32 | Out::U64 | Out::Bytes(_) if !self.shown => "set".to_owned(),
            Out::U32 => word(&self.memory, 0).unwrap_or_default().to_string(),
            Out::U64 => {
                let bytes = self.memory.first_chunk().copied().unwrap_or_default();
                u64::from_le_bytes(bytes).to_string()
            }
            Out::Bytes(_) => quote(&self.memory),
            Out::Data | Out::Pairs | Out::Map => self.show_data(),
        }
    }

    fn show_data(&self) -> String {
        let at = word(&self.memory, 0).unwrap_or_default();
        let size = word(&self.memory, 4).unwrap_or_default();
        if at == 0 {
            return if size == 0 {
                "null".to_owned()
            } else {
                format!("null({size})")
            };
        }
        let Some(bytes) = abi::bytes_at(at, size) else {
            return "outside".to_owned();
        };
        if !self.shown {
            return format!("{size} bytes");
        }
        match self.kind {
            Out::Pairs | Out::Map => pairs(&bytes, self.kind == Out::Map)
                .unwrap_or_else(|| format!("no map: {}", quote(&bytes))),
            _ => quote(&bytes),
        }
    }
}

/// Writes bytes as text in quotes.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let shown = bytes
        .get(..SHOWN_BYTES.min(bytes.len()))
        .unwrap_or_default();
    let text = escape(shown);
    if shown.len() == bytes.len() {
        format!("\"{text}\"")
    } else {
        format!(
            "\"{text}\"…({} bytes, {:08x})",
            bytes.len(),
            checksum(bytes)
        )
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            0 => text.push_str("\\0"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                text.push_str("\\x");
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(u32::from(digit), 16).unwrap_or('?'));
                }
            }
        }
    }
    text
}

/// SOURCE: FNV-1a, 32 bits.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum: u32, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Encodes a map as the ABI says; a map without entries is a count of 0.
pub(crate) fn encode(map: &[Entry]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u32::try_from(map.len()).unwrap_or(u32::MAX);
    let mut encoded = count.to_le_bytes().to_vec();
    for (name, value) in map {
        encoded.extend_from_slice(&size(name));
        encoded.extend_from_slice(&size(value));
    }
    for part in map.iter().flat_map(|(name, value)| [name, value]) {
        encoded.extend_from_slice(part);
        encoded.push(0);
    }
    encoded
}

/// Writes a map as a script would; `None` if it is none.
fn pairs(bytes: &[u8], sorted: bool) -> Option<String> {
    let count = word(bytes, 0)?;
    let mut at = usize::try_from(count)
        .ok()?
        .checked_mul(8)?
        .checked_add(4)?;
    let mut shown = Vec::new();
    for index in 0..count as usize {
        let sizes = index.checked_mul(8)?.checked_add(4)?;
        let mut take = |size: u32| -> Option<String> {
            let end = at.checked_add(size as usize)?;
            let text = escape(bytes.get(at..end)?);
            (*bytes.get(end)? == 0).then_some(())?;
            at = end.checked_add(1)?;
            Some(text)
        };
        let name = take(word(bytes, sizes)?)?;
        let value = take(word(bytes, sizes.checked_add(4)?)?)?;
        shown.push(format!("{name}={value}"));
    }
    if sorted {
        shown.sort();
    }
    (at == bytes.len()).then(|| format!("{{{}}}", shown.join("; ")))
}
