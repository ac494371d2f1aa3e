//! Reads HTTP/1.1 messages byte by byte, as they come, and keeps what it has when a connection breaks.

use anyhow::{Context, Result, bail};
use tidegate_cli::fidelity::Received;

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Request,
    /// An answer; `true` if it is one to a HEAD.
    Response(bool),
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Head,
    /// So many bytes are left.
    Sized(usize),
    /// A chunk's size comes next.
    ChunkSize,
    /// So many bytes of a chunk are left, its line end included.
    Chunk(usize),
    Trailers,
    /// At the end of the connection.
    Open,
    Done,
}

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    kind: Kind,
    state: State,
    buffer: Vec<u8>,
    pub(super) received: Received,
}

impl Message {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Head,
            buffer: Vec::new(),
            received: Received::default(),
        }
    }

    /// Whether the head has come.
    pub(super) fn has_head(&self) -> bool {
        self.state != State::Head
    }

    /// Takes bytes; what belongs to the next message comes back.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.buffer.extend_from_slice(bytes);
        while self.step()? {}
        self.received.complete = self.state == State::Done;
        Ok(if self.state == State::Done {
            std::mem::take(&mut self.buffer)
        } else {
            Vec::new()
        })
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Done;
            self.received.complete = true;
        }
    }

    /// Whether something was taken.
    fn step(&mut self) -> Result<bool> {
        match self.state {
            State::Done => Ok(false),
            State::Head => self.head(),
            State::Open => {
                self.received.body.append(&mut self.buffer);
                Ok(false)
            }
            State::Sized(left) => {
                let taken = self.take(left);
                self.received.body.extend_from_slice(&taken);
                let left = left - taken.len();
                self.state = if left == 0 {
                    State::Done
                } else {
                    State::Sized(left)
                };
                Ok(!taken.is_empty())
            }
            State::ChunkSize => {
                let Some(line) = self.line() else {
                    return Ok(false);
                };
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(digits, 16).context("no chunk size")?;
                self.state = if size == 0 {
                    State::Trailers
                } else {
                    State::Chunk(size + 2)
                };
                Ok(true)
            }
            State::Chunk(left) => {
                let taken = self.take(left);
                let body = taken.len().min(left.saturating_sub(2));
                self.received
                    .body
                    .extend_from_slice(taken.get(..body).unwrap_or_default());
                let left = left - taken.len();
                self.state = if left == 0 {
                    State::ChunkSize
                } else {
                    State::Chunk(left)
                };
                Ok(!taken.is_empty())
            }
            State::Trailers => {
                let Some(line) = self.line() else {
                    return Ok(false);
                };
                match line.split_once(':') {
                    Some((name, value)) => {
                        self.received
                            .trailer(name.as_bytes(), value.trim().as_bytes());
                    }
                    None => self.state = State::Done,
                }
                Ok(true)
            }
        }
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    fn line(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\r\n")?;
        let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned())
    }

    fn head(&mut self) -> Result<bool> {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let (size, head, status) = match self.kind {
            Kind::Request => {
                let mut request = httparse::Request::new(&mut headers);
                let httparse::Status::Complete(size) = request.parse(&self.buffer)? else {
                    return Ok(false);
                };
                let method = request.method.unwrap_or_default();
                let head = format!("{method} {}", request.path.unwrap_or_default());
                (size, head, 0)
            }
            Kind::Response(_) => {
                let mut response = httparse::Response::new(&mut headers);
                let httparse::Status::Complete(size) = response.parse(&self.buffer)? else {
                    return Ok(false);
                };
                let status = response.code.unwrap_or_default();
                (size, status.to_string(), status)
            }
        };
        let found: Vec<(String, Vec<u8>)> = headers
            .iter()
            .take_while(|header| !header.name.is_empty())
            .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
            .collect();
        self.buffer.drain(..size);
        if (100..200).contains(&status) && status != 101 {
            // An interim answer: the real one follows.
            return Ok(true);
        }
        let value = |name: &str| {
            let header = found.iter().find(|(known, _)| known == name);
            header.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        self.state = if self.kind == Kind::Response(true) || matches!(status, 204 | 304) {
            State::Done
        } else if status == 101 || value("upgrade").is_some() {
            State::Open
        } else if value("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            State::ChunkSize
        } else {
            match value("content-length") {
                Some(length) => match length.parse()? {
                    0 => State::Done,
                    left => State::Sized(left),
                },
                None if self.kind == Kind::Request => State::Done,
                None => State::Open,
            }
        };
        self.received.head = head;
        for (name, value) in &found {
            self.received.header(name.as_bytes(), value);
        }
        if self.received.head.is_empty() {
            bail!("a head without a start line");
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let text =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
            X-A: 1\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\nHTTP";
        for size in 1..text.len() {
            let mut message = Message::new(Kind::Response(false));
            let mut rest = Vec::new();
            for part in text.chunks(size) {
                if message.received.complete {
                    rest.extend_from_slice(part);
                } else {
                    rest.extend(message.feed(part).unwrap());
                }
            }
            assert_eq!(
                message.received.line(),
                "200 {x-a=1} \"abcde\" {t=1}",
                "{size}"
            );
            assert_eq!(rest, b"HTTP", "{size}");
        }
    }

    #[test]
    fn what_is_missing_is_known() {
        let mut message = Message::new(Kind::Request);
        message
            .feed(b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nabc")
            .unwrap();
        assert_eq!(
            message.received.line(),
            "POST / {content-length=5} \"abc\" cut"
        );
        message.end();
        assert!(!message.received.complete);
        message.feed(b"de").unwrap();
        assert!(message.received.complete);
        let mut open = Message::new(Kind::Response(false));
        open.feed(b"HTTP/1.0 200 OK\r\n\r\nabc").unwrap();
        open.end();
        assert_eq!(open.received.line(), "200 {} \"abc\"");
        let mut head = Message::new(Kind::Response(true));
        head.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
            .unwrap();
        assert!(head.received.complete);
    }
}
