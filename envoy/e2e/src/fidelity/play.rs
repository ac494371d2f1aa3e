//! Plays all cases, one after the other, in one Envoy.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tidegate_cli::fidelity::{Case, Line, Peer, Step, Thread};

use super::bootstrap;
use super::client::Client;
use super::servers::{Incoming, Servers};
use super::tail::Tail;
use super::wire::look;
use crate::envoy::{Envoy, Scenario};
use crate::wait;

/// What Envoy said, by case; or why a case could not be played to its end.
pub type Played = BTreeMap<String, Result<Vec<Line>>>;

/// Plays the cases in the real Envoy.
///
/// # Errors
/// Envoy cannot be had, or does not start with the cases. A case that goes wrong is an answer of its own.
pub async fn play(cases: &[Case], module: &Path) -> Result<Played> {
    let mut staged = Vec::new();
    for case in cases {
        staged.push((case.clone(), Servers::start(case).await?));
    }
    let bootstrap = bootstrap::all(&staged, module)?;
    let scenario = Scenario::new(bootstrap)
        .concurrency(1)
        .log_level("warning")
        .component_log_level("wasm:info");
    let mut envoy = Envoy::start(scenario).await?;
    let mut tail = Tail::new(envoy.folder().join("envoy.log"));
    let mut outcomes = BTreeMap::new();
    for (case, servers) in staged {
        let name = case.name.clone();
        let mut stage = Stage {
            case: &case,
            envoy: &envoy,
            servers,
            tail: &mut tail,
            client: None,
            incoming: Vec::new(),
            received: Vec::new(),
        };
        let outcome = stage.play().await;
        stage.tail.read()?;
        let received = std::mem::take(&mut stage.received);
        let outcome =
            outcome.with_context(|| format!("case `{name}`, after\n{}", last(tail.of(&name))));
        let failed = outcome.is_err();
        outcomes.insert(name.clone(), outcome.map(|()| received));
        if failed && envoy.admin("/ready").await.is_err() {
            bail!(
                "case `{name}` ended Envoy, which logged:\n{}",
                last_words(&envoy.log())
            );
        }
    }
    envoy.stop().await?;
    tail.read()?;
    let played = outcomes.into_iter().map(|(name, outcome)| {
        let lines = outcome.map(|received| [tail.of(&name), &received].concat());
        (name, lines)
    });
    Ok(played.collect())
}

/// Returns the end of a case's log.
fn last(lines: &[Line]) -> String {
    let shown = lines.iter().skip(lines.len().saturating_sub(10));
    shown
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns what Envoy said about its own end.
fn last_words(log: &str) -> String {
    let lines = log.lines().filter(|line| line.contains("[critical]"));
    lines.take(40).collect::<Vec<_>>().join("\n")
}

/// One case under way.
struct Stage<'a> {
    case: &'a Case,
    envoy: &'a Envoy,
    servers: Servers,
    tail: &'a mut Tail,
    client: Option<Client>,
    /// What came to the upstream for the request that is under way; the last one is answered.
    incoming: Vec<Incoming>,
    received: Vec<Line>,
}

impl Stage<'_> {
    async fn play(&mut self) -> Result<()> {
        for (index, step) in self.case.steps.iter().enumerate() {
            self.step(step)
                .await
                .with_context(|| format!("steps[{index}]"))?;
        }
        self.leave().await?;
        for line in self.servers.asked() {
            self.received.push(Line::new(Thread::Called, &line));
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Request(request) => {
                self.leave().await?;
                let address = self.envoy.listener(&self.case.name)?;
                self.client = Some(Client::request(address, self.case.protocol, request).await?);
                Ok(())
            }
            Step::Data(data) => self.client()?.data(data).await,
            Step::Trailers(trailers) => self.client()?.trailers(trailers).await,
            Step::Await(text) => self.tail.wait(&self.case.name, text).await,
            Step::Respond(response) => {
                let incoming = self.servers.next().await?;
                self.incoming.push(incoming);
                self.answering()?.respond(response).await
            }
            Step::RespondData(data) => self.answering()?.data(data).await,
            Step::RespondTrailers(trailers) => self.answering()?.trailers(trailers).await,
            Step::Reset(Peer::Client) => self.client()?.leave(true),
            Step::Close(Peer::Client) => self.client()?.leave(false),
            Step::Reset(Peer::Upstream) => self.cut(true).await,
            Step::Close(Peer::Upstream) => self.cut(false).await,
            Step::Read(text) => self.client()?.read(text.bytes()).await,
            Step::Receive => self.client()?.receive().await,
        }
    }

    fn client(&mut self) -> Result<&mut Client> {
        self.client.as_mut().context("there is no request")
    }

    fn answering(&mut self) -> Result<&mut Incoming> {
        self.incoming
            .last_mut()
            .context("no request reached the upstream")
    }

    /// The upstream ends the connection of what it is answering, or of what it has not answered yet.
    async fn cut(&mut self, reset: bool) -> Result<()> {
        let incoming = match self.incoming.pop() {
            Some(incoming) => incoming,
            None => self.servers.next().await?,
        };
        self.note(&incoming);
        incoming.cut(reset)
    }

    fn note(&mut self, incoming: &Incoming) {
        let line = look(&incoming.state, |state| state.received.line());
        self.received.push(Line::new(Thread::Upstream, &line));
    }

    /// The client is done, or goes away; Envoy has then forgotten the request.
    async fn leave(&mut self) -> Result<()> {
        let Some(mut client) = self.client.take() else {
            return Ok(());
        };
        client.leave(false)?;
        let gauge = format!("http.{}.downstream_cx_active", self.case.name);
        let path = format!("/stats?filter=^{}$", gauge.replace('.', "\\."));
        wait::until("Envoy has forgotten the client", async || {
            let stats = self.envoy.admin(&path).await?;
            Ok(stats.contains(&format!("{gauge}: 0")).then_some(()))
        })
        .await?;
        while let Some(incoming) = self.servers.leftover() {
            self.incoming.push(incoming);
        }
        for incoming in std::mem::take(&mut self.incoming) {
            self.note(&incoming);
        }
        self.received
            .push(Line::new(Thread::Client, &client.received().line()));
        Ok(())
    }
}
