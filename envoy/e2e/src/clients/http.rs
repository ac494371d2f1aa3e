//! An HTTP/1.1 client with one keep-alive connection and a cookie jar.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Method, Request as HyperRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::jar::Jar;

/// The body of a request.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// These pieces, chunked, with these trailers after them.
    Chunked(Vec<Bytes>, Vec<(String, String)>),
    /// No body.
    #[default]
    Empty,
    /// These bytes, with a content length.
    Whole(Bytes),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Further headers. The jar's cookies and the host are added; a `cookie` header here replaces the jar's.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Body,
}

impl Request {
    /// Makes a request without body.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

/// One answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the first value of a header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the `set-cookie` value for a cookie, if the answer sets it.
    #[must_use]
    pub fn set_cookie(&self, name: &str) -> Option<&str> {
        set_cookie(&self.headers, name)
    }
}

/// Returns the first `set-cookie` value for a cookie.
#[must_use]
pub fn set_cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find(|value| {
            value
                .split_once('=')
                .is_some_and(|(found, _)| found == name)
        })
}

/// One client: an address to speak to, a connection that is opened on first use and kept, a jar.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    from: Option<IpAddr>,
    headers: Vec<(String, Vec<u8>)>,
    connection: Option<Connection>,
    /// The client's cookies.
    pub jar: Jar,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// Makes a client of the server at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            from: None,
            headers: Vec::new(),
            connection: None,
            jar: Jar::default(),
        }
    }

    /// Makes the client connect from this address of the machine (on Linux all of 127.0.0.0/8 will do).
    #[must_use]
    pub fn from_address(mut self, ip: IpAddr) -> Self {
        self.from = Some(ip);
        self
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// Returns the server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that the client connects from, if one was chosen.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.from
    }

    /// Speaks to another address from now on, with the same cookies.
    pub fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
        self.connection = None;
    }

    /// Closes the connection, so that the next request opens another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(Request::new(Method::GET, path)).await
    }

    /// Sends a request and reads the whole answer, taking over its cookies.
    ///
    /// # Errors
    /// The server cannot be reached, or the connection ends before the answer does.
    pub async fn send(&mut self, request: Request) -> Result<Answer> {
        let built = self.build(request)?;
        if self
            .connection
            .as_ref()
            .is_none_or(|open| open.sender.is_closed())
        {
            self.connection = Some(self.connect().await?);
        }
        let connection = self
            .connection
            .as_mut()
            .context("the connection was opened")?;
        connection
            .sender
            .ready()
            .await
            .context("the connection is not usable")?;
        let response = connection.sender.send_request(built).await;
        let outcome = match response {
            Ok(response) => read(response).await,
            Err(error) => Err(error).context("no answer"),
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                self.connection = None;
                return Err(error);
            }
        };
        for value in answer.headers.get_all(SET_COOKIE) {
            if let Ok(text) = value.to_str() {
                self.jar.store(text);
            }
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection> {
        let stream = connect(self.address, self.from).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How the connection ended is seen by the request that is on it.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }

    fn build(&self, request: Request) -> Result<HyperRequest<BoxBody<Bytes, Infallible>>> {
        let mut built = HyperRequest::new(body(request.body));
        *built.method_mut() = request.method;
        *built.uri_mut() = request
            .path
            .parse()
            .with_context(|| format!("`{}` is no path", request.path))?;
        let headers = built.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.address.to_string())?);
        for (name, value) in self.headers.iter().chain(&request.headers) {
            headers.append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_bytes(value)?,
            );
        }
        if !headers.contains_key(COOKIE)
            && let Some(cookies) = self.jar.header()
        {
            headers.insert(COOKIE, HeaderValue::from_str(&cookies)?);
        }
        Ok(built)
    }
}

/// Opens a connection, from a chosen address of the machine if need be.
pub(crate) async fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream> {
    let stream = match from {
        None => TcpStream::connect(address).await,
        Some(ip) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(ip, 0))?;
            socket.connect(address).await
        }
    };
    let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn body(body: Body) -> BoxBody<Bytes, Infallible> {
    match body {
        Body::Empty => http_body_util::Empty::new().boxed(),
        Body::Whole(bytes) => http_body_util::Full::new(bytes).boxed(),
        Body::Chunked(pieces, trailers) => {
            let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = pieces
                .into_iter()
                .map(|piece| Ok(Frame::data(piece)))
                .collect();
            if !trailers.is_empty() {
                frames.push(Ok(Frame::trailers(header_map(&trailers))));
            }
            BodyExt::boxed(StreamBody::new(stream::iter(frames)))
        }
    }
}

/// Builds a header map; what is no header is left out.
pub(crate) fn header_map(pairs: &[(String, String)]) -> HeaderMap {
    pairs
        .iter()
        .filter_map(|(name, value)| {
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        })
        .collect()
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Result<Answer> {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.context("the answer ended early")?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
    })
}
