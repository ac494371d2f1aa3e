//! The same requests for every Envoy, at the same rate.
//!
//! Model: half of the connections are clients without a cookie, so that each of their answers begins a session; the others have
//! [`SESSIONS`] sessions each, and bring the cookies of one after the other. An Envoy that gives no cookie gets none.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clients::jar::Jar;

/// How many sessions a connection with cookies serves.
const SESSIONS: usize = 16;

/// How many headers an answer may have.
const MAX_HEADERS: usize = 64;

/// What a browser sends with a request for data. The blank line is written after the cookies.
const HEAD: &[u8] = b"GET /api/items?page=2 HTTP/1.1\r\n\
    host: shop.example.com\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    accept: application/json, text/plain, */*\r\n\
    accept-language: en-US,en;q=0.5\r\n\
    accept-encoding: gzip, deflate, br, zstd\r\n\
    referer: http://shop.example.com/items\r\n\
    sec-fetch-dest: empty\r\n\
    sec-fetch-mode: cors\r\n\
    sec-fetch-site: same-origin\r\n";

/// How many answers came, and how many of them were 200.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    /// All of them.
    pub(super) answers: u64,
    /// Those with status 200.
    pub(super) ok: u64,
}

/// The clients of one listener.
#[derive(Debug)]
pub(super) struct Load {
    connections: Vec<Connection>,
}

impl Load {
    /// Opens so many connections to a listener.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(super) async fn open(address: SocketAddr, connections: u32) -> Result<Self> {
        let mut open = Vec::new();
        for index in 0..connections {
            let sessions = if index % 2 == 0 { SESSIONS } else { 0 };
            open.push(Connection::open(address, sessions).await?);
        }
        Ok(Self { connections: open })
    }

    /// Sends so many requests, shared by the connections, at so many per second over all of them. A connection that lags behind
    /// catches up: the count is what is fixed.
    ///
    /// # Errors
    /// A connection ends, or what it brings is not HTTP.
    pub(super) async fn turn(&mut self, requests: u32, rate: u32) -> Result<Served> {
        let connections = u32::try_from(self.connections.len())?.max(1);
        let period = Duration::from_secs(1) * connections / rate.max(1);
        let begin = Instant::now();
        let all = (0_u32..)
            .zip(&mut self.connections)
            .map(async |(index, connection)| {
                let share = requests / connections + u32::from(index < requests % connections);
                let first = begin + period * index / connections;
                connection.requests(share, first, period).await
            });
        let mut served = Served::default();
        for of_connection in future::try_join_all(all).await? {
            served.answers += of_connection.answers;
            served.ok += of_connection.ok;
        }
        Ok(served)
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    sessions: Vec<Jar>,
    next: usize,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr, sessions: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            sessions: vec![Jar::default(); sessions],
            next: 0,
            request: Vec::with_capacity(2048),
            answer: Vec::with_capacity(4096),
        })
    }

    async fn requests(&mut self, count: u32, first: Instant, period: Duration) -> Result<Served> {
        let mut ticks = interval_at(first, period.max(Duration::from_nanos(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut served = Served::default();
        for _ in 0..count {
            ticks.tick().await;
            served.answers += 1;
            served.ok += u64::from(self.exchange().await? == 200);
        }
        Ok(served)
    }

    /// Sends a request and returns the status of its answer.
    async fn exchange(&mut self) -> Result<u16> {
        self.next = (self.next + 1)
            .checked_rem(self.sessions.len())
            .unwrap_or(0);
        let cookies = self.sessions.get(self.next).and_then(Jar::header);
        self.request.clear();
        self.request.extend_from_slice(HEAD);
        if let Some(cookies) = cookies {
            self.request.extend_from_slice(b"cookie: ");
            self.request.extend_from_slice(cookies.as_bytes());
            self.request.extend_from_slice(b"\r\n");
        }
        self.request.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let (status, length) = loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "Envoy closed a connection");
            if let Some(head) = head(&self.answer, self.sessions.get_mut(self.next))? {
                break head;
            }
        };
        while self.answer.len() < length {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "Envoy closed a connection within an answer");
        }
        Ok(status)
    }
}

/// Reads status and whole length of an answer, and stores its cookies; `None` while its headers are not all there.
fn head(bytes: &[u8], jar: Option<&mut Jar>) -> Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = response.parse(bytes)? else {
        return Ok(None);
    };
    let mut body = None;
    let mut jar = jar;
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            body = value.parse::<usize>().ok();
        } else if header.name.eq_ignore_ascii_case("set-cookie")
            && let Some(jar) = jar.as_deref_mut()
        {
            jar.store(value);
        }
    }
    let status = response.code.context("an answer without a status")?;
    let body = body.context("an answer without its length")?;
    Ok(Some((status, size + body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_its_headers_are_there_and_its_cookie_is_kept() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b; Path=/\r\n\r\nok";
        let mut jar = Jar::default();
        assert_eq!(head(&text[..40], Some(&mut jar)).unwrap(), None);
        assert_eq!(head(text, Some(&mut jar)).unwrap(), Some((200, text.len())));
        assert_eq!(jar.header().as_deref(), Some("a=b"));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n", None).is_err());
    }
}
