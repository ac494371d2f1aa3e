//! The endpoints of a case's clusters.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tidegate_cli::fidelity::{Behaviour, Case, Data, Protocol, Response, Text};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::http1::{Kind, Message};
use super::wire::{Shared, State, Wire, look, read, read_message};
use super::{frame, http2};
use crate::wait;

/// The servers of one case.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) upstream: SocketAddr,
    /// Addresses of the other clusters, in their order; those of one that refuses take no connection.
    pub(super) others: Vec<SocketAddr>,
    incoming: UnboundedReceiver<Incoming>,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// A request that came in, to be answered.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) state: Shared,
    pub(super) answer: Answering,
}

/// The way back.
#[derive(Debug)]
pub(super) enum Answering {
    Http1 { wire: Wire, chunked: bool },
    Http2(http2::Answering),
}

impl Servers {
    pub(super) async fn start(case: &Case) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let (sender, incoming) = unbounded_channel();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (listener, upstream) = listen().await?;
        tasks.spawn(serve(listener, case.upstream_protocol, sender));
        let mut others = Vec::new();
        for cluster in &case.clusters {
            let (listener, address) = listen().await?;
            others.push(address);
            match cluster.behaviour {
                Behaviour::Empty | Behaviour::Refuses => drop(listener),
                Behaviour::Silent => drop(tasks.spawn(swallow(listener, false))),
                Behaviour::Resets => drop(tasks.spawn(swallow(listener, true))),
                Behaviour::Answers => {
                    let answer = cluster.answer.clone();
                    tasks.spawn(answer_all(listener, answer, Arc::clone(&asked)));
                }
            }
        }
        Ok(Self {
            upstream,
            others,
            incoming,
            asked,
            _tasks: tasks,
        })
    }

    /// Waits for the next request to the cluster `upstream`.
    pub(super) async fn next(&mut self) -> Result<Incoming> {
        let next = tokio::time::timeout(wait::DEADLINE, self.incoming.recv()).await;
        let incoming = next
            .context("no request reached the upstream")?
            .context("the server is gone")?;
        wait::until("the head of a request reaches the upstream", async || {
            Ok(look(&incoming.state, |state| state.has_head).then_some(()))
        })
        .await?;
        Ok(incoming)
    }

    /// Takes a request that has come but that nobody asked for.
    pub(super) fn leftover(&mut self) -> Option<Incoming> {
        self.incoming.try_recv().ok()
    }

    /// Takes what clusters besides `upstream` were asked.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return stream;
        }
    }
}

async fn serve(listener: TcpListener, protocol: Protocol, sender: UnboundedSender<Incoming>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = accept(&listener).await;
        let sender = sender.clone();
        match protocol {
            Protocol::Http1 => drop(connections.spawn(connection(stream, sender))),
            Protocol::Http2 => drop(connections.spawn(http2::connection(stream, sender))),
        }
    }
}

async fn connection(stream: TcpStream, sender: UnboundedSender<Incoming>) {
    let stream = Arc::new(stream);
    let mut rest = Vec::new();
    loop {
        if rest.is_empty() {
            rest = read(&stream).await.unwrap_or_default();
        }
        if rest.is_empty() {
            return;
        }
        let state = State::shared();
        let incoming = Incoming {
            state: Arc::clone(&state),
            answer: Answering::Http1 {
                wire: Wire::new(Arc::clone(&stream), None),
                chunked: false,
            },
        };
        if sender.send(incoming).is_err() {
            return;
        }
        match read_message(&stream, Message::new(Kind::Request), rest, &state).await {
            Some(behind) => rest = behind,
            None => return,
        }
        if look(&state, |state| state.cut) {
            return;
        }
    }
}

/// Takes whatever comes; or resets the connection at the first bytes.
async fn swallow(listener: TcpListener, resets: bool) {
    let mut connections = JoinSet::new();
    loop {
        let stream = accept(&listener).await;
        connections.spawn(async move {
            while read(&stream).await.is_ok_and(|bytes| !bytes.is_empty()) {
                if resets {
                    let _ = stream.set_zero_linger();
                    return;
                }
            }
        });
    }
}

async fn answer_all(listener: TcpListener, answer: Response, asked: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = Arc::new(accept(&listener).await);
        let (answer, asked) = (answer.clone(), Arc::clone(&asked));
        connections.spawn(async move {
            let mut rest = Vec::new();
            loop {
                if rest.is_empty() {
                    rest = read(&stream).await.unwrap_or_default();
                }
                let state = State::shared();
                let message = Message::new(Kind::Request);
                let Some(behind) = read_message(&stream, message, rest, &state).await else {
                    return;
                };
                rest = behind;
                let line = look(&state, |state| state.received.line());
                let is_head = line.starts_with("HEAD ");
                asked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
                let wire = Wire::new(Arc::clone(&stream), None);
                if wire.send(&frame::response(&answer, is_head)).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Incoming {
    pub(super) async fn respond(&mut self, response: &Response) -> Result<()> {
        let is_head = look(&self.state, |state| {
            state.received.head.starts_with("HEAD ")
        });
        match &mut self.answer {
            Answering::Http1 { wire, chunked } => {
                *chunked = response.chunked;
                wire.send(&frame::response(response, is_head)).await
            }
            Answering::Http2(answer) => answer.respond(response, is_head),
        }
    }

    pub(super) async fn data(&mut self, data: &Data) -> Result<()> {
        match &mut self.answer {
            Answering::Http1 { wire, chunked } => {
                wire.send(&frame::data(*chunked, data.text.bytes(), data.end, &[]))
                    .await
            }
            Answering::Http2(answer) => answer.data(data),
        }
    }

    pub(super) async fn trailers(&mut self, trailers: &[Text]) -> Result<()> {
        match &mut self.answer {
            Answering::Http1 {
                wire,
                chunked: true,
            } => wire.send(&frame::data(true, b"", true, trailers)).await,
            Answering::Http1 { .. } => bail!("only a chunked body has trailers"),
            Answering::Http2(answer) => answer.trailers(trailers),
        }
    }

    /// Ends the connection: with a reset, or by closing it.
    pub(super) fn cut(self, reset: bool) -> Result<()> {
        look(&self.state, |state| state.cut = true);
        match self.answer {
            Answering::Http1 { wire, .. } => wire.cut(reset),
            Answering::Http2(answer) => {
                answer.cut();
                Ok(())
            }
        }
    }
}
