//! Requests at a fixed rate, whether or not those before were answered.
//!
//! Why: clients of the world don't wait for each other. A generator that does sends the fewest requests while the proxy is slow,
//! and so never sees what the slowness does.
//! Model: each target gets a request at equal distances, the targets' in turn, so that whatever disturbs the machine disturbs all
//! of them alike. A request has a connection for itself while it lasts; idle connections are used in turn, so that all workers of
//! a proxy are. A latency counts from when the request was due: what the generator was late by is the machine's fault, and part of
//! the figure of each.
//! Limits: a thousand requests per second or so, on one core; every sample is kept.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::Method;
use tokio::task::JoinSet;

use crate::clients::http::{Body, Client, Request};

/// How many connections each target has at first: enough for each of two workers to have some of them.
const CONNECTIONS: usize = 16;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many requests each target gets per second, at least 1.
    pub rate: u32,
    /// For how long.
    pub time: Duration,
    /// Makes each request of so many a POST, the others are GETs; 0 for none.
    pub post_every: u32,
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The place of its target.
    pub target: usize,
    /// Its number among all of the load, also in its path: `/?number=N`.
    pub number: u32,
    /// Whether it was a POST.
    pub is_post: bool,
    /// When it was due, from the beginning of the load.
    pub due: Duration,
    /// How long it took from then to the end of its answer, or to its failure.
    pub latency: Duration,
    /// The status of its answer; 0 where there was none.
    pub status: u16,
    /// Who answered.
    pub served_by: Option<SocketAddr>,
}

/// What became of all requests.
#[derive(Clone, Debug)]
pub struct Samples {
    /// When the load began, on the clock of the machine.
    pub began: SystemTime,
    /// The requests, by their numbers.
    pub all: Vec<Sample>,
}

impl Sample {
    /// Says whether the client got what it wanted.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == 200
    }
}

impl Samples {
    /// Returns those of a target that were due in a span of the load.
    pub fn of(
        &self,
        target: usize,
        span: std::ops::Range<Duration>,
    ) -> impl Iterator<Item = &Sample> + Clone {
        self.all
            .iter()
            .filter(move |sample| sample.target == target && span.contains(&sample.due))
    }
}

/// Returns the latency that this share of requests does not exceed, by the nearest rank; zero where there is none.
#[must_use]
pub fn quantile<'a>(samples: impl Iterator<Item = &'a Sample>, per_mille: usize) -> Duration {
    let mut latencies: Vec<Duration> = samples.map(|sample| sample.latency).collect();
    latencies.sort_unstable();
    let rank = (latencies.len() * per_mille).div_ceil(1000);
    latencies
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Returns the share of requests that one endpoint answered, of all that were answered; 0 where none was.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
pub fn share<'a>(samples: impl Iterator<Item = &'a Sample>, endpoint: SocketAddr) -> f64 {
    let (mut own, mut all) = (0_u64, 0_u64);
    for served_by in samples.filter_map(|sample| sample.served_by) {
        all += 1;
        own += u64::from(served_by == endpoint);
    }
    own as f64 / all.max(1) as f64
}

/// Sends the load to these targets, and waits for the last answer.
///
/// # Errors
/// There is nothing to send. A request that fails is a sample, not an error.
pub async fn run(targets: &[SocketAddr], load: Load) -> Result<Samples> {
    let lines = u32::try_from(targets.len())?;
    let per_second = load.rate.checked_mul(lines).context("too many requests")?;
    ensure!(per_second > 0, "no requests");
    let period = Duration::from_secs(1) / per_second;
    let idle: Vec<Idle> = targets.iter().map(|target| Idle::new(*target)).collect();
    let (began, start) = (SystemTime::now(), Instant::now());
    let mut under_way = JoinSet::new();
    let mut number = 0;
    'load: loop {
        for (target, idle) in idle.iter().enumerate() {
            let due = period * number;
            if due >= load.time {
                break 'load;
            }
            tokio::time::sleep_until((start + due).into()).await;
            let is_post = load.post_every > 0 && (number / lines) % load.post_every == 0;
            let sample = Sample {
                target,
                number,
                is_post,
                due,
                latency: Duration::ZERO,
                status: 0,
                served_by: None,
            };
            under_way.spawn(send(idle.clone(), sample, start));
            number += 1;
        }
    }
    let mut all = under_way.join_all().await;
    all.sort_unstable_by_key(|sample| sample.number);
    Ok(Samples { began, all })
}

/// The connections of a target that nothing is under way on.
#[derive(Clone)]
struct Idle {
    target: SocketAddr,
    clients: Arc<Mutex<VecDeque<Client>>>,
}

impl Idle {
    fn new(target: SocketAddr) -> Self {
        let clients = (0..CONNECTIONS).map(|_| Client::new(target)).collect();
        Self {
            target,
            clients: Arc::new(Mutex::new(clients)),
        }
    }

    fn take(&self) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .pop_front()
            .unwrap_or_else(|| Client::new(self.target))
    }

    fn give_back(&self, client: Client) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.push_back(client);
    }
}

async fn send(idle: Idle, mut sample: Sample, start: Instant) -> Sample {
    let path = format!("/?number={}", sample.number);
    let request = if sample.is_post {
        let body = Body::Whole(Bytes::from_static(b"once"));
        Request::new(Method::POST, &path).body(body)
    } else {
        Request::new(Method::GET, &path)
    };
    let mut client = idle.take();
    if let Ok(answer) = client.send(request).await {
        sample.status = answer.status;
        sample.served_by = answer
            .header("x-served-by")
            .and_then(|address| address.parse().ok());
    }
    sample.latency = start.elapsed().saturating_sub(sample.due);
    idle.give_back(client);
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u32, latency_ms: u64, port: u16) -> Sample {
        Sample {
            target: 0,
            number,
            is_post: false,
            due: Duration::from_millis(number.into()),
            latency: Duration::from_millis(latency_ms),
            status: 200,
            served_by: (port > 0).then(|| SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }

    #[test]
    fn a_quantile_is_a_latency_that_was_seen() {
        let samples: Vec<Sample> = (1..=200).map(|n| sample(n, n.into(), 1)).collect();
        let of = |per_mille| quantile(samples.iter(), per_mille).as_millis();
        assert_eq!([of(500), of(990), of(1000), of(0)], [100, 198, 200, 1]);
        assert_eq!(quantile([].iter(), 990), Duration::ZERO);
    }

    #[test]
    fn a_share_is_of_the_answered_ones() {
        let samples = [(1, 7), (2, 7), (3, 8), (4, 0)].map(|(n, port)| sample(n, 1, port));
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 8));
        assert!((share(samples.iter(), endpoint) - 1.0 / 3.0).abs() < 1e-12);
        assert!(share([].iter(), endpoint).abs() < 1e-12);
    }

    #[tokio::test]
    async fn targets_get_their_requests_in_turn_and_on_time_whatever_the_answers() -> Result<()> {
        let server = crate::upstream::Upstream::start().await?;
        let nobody = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let gone = nobody.local_addr()?;
        drop(nobody);
        let load = Load {
            rate: 50,
            time: Duration::from_millis(400),
            post_every: 4,
        };
        let samples = run(&[server.address(), gone], load).await?;
        let mine: Vec<&Sample> = samples.of(0, Duration::ZERO..load.time).collect();
        assert_eq!((samples.all.len(), mine.len()), (40, 20));
        assert!(mine.iter().all(|sample| sample.is_good()));
        assert_eq!(mine.iter().filter(|sample| sample.is_post).count(), 5);
        let apart = mine.iter().zip(mine.iter().skip(1));
        assert!(
            apart
                .map(|(one, next)| next.due - one.due)
                .all(|gap| gap == Duration::from_millis(20))
        );
        let lost = samples.of(1, Duration::ZERO..load.time);
        assert_eq!(lost.filter(|sample| sample.status == 0).count(), 20);
        let posts = server.received().into_iter().filter(|r| r.method == "POST");
        assert_eq!(posts.count(), 5);
        Ok(())
    }
}
