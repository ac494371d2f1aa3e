//! An endpoint whose readiness is apart from its traffic, both to be changed while it runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpSocket;

use crate::upstream::{Answer, Received, Script, Upstream};
use crate::wait;

/// Where endpoints say whether they are ready, by default.
pub const READY_PATH: &str = "/health/ready";

/// Keeps the address of an endpoint that died from others.
#[derive(Debug)]
pub struct Grave(#[expect(dead_code, reason = "it is kept, not used")] TcpSocket);

/// What an endpoint says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Readiness {
    /// 503, and that it drains for so many seconds.
    Draining(u16),
    /// 503.
    NotReady,
    /// 200.
    #[default]
    Ready,
    /// Nothing.
    Silent,
}

/// How an endpoint serves traffic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Conduct {
    /// How long it thinks.
    pub delay: Duration,
    /// The status of its answers.
    pub status: u16,
}

impl Conduct {
    /// Serves well, after so many milliseconds.
    #[must_use]
    pub const fn takes_ms(delay: u64) -> Self {
        Self {
            delay: Duration::from_millis(delay),
            status: 200,
        }
    }
}

/// A running endpoint.
#[derive(Debug)]
pub struct Backend {
    upstream: Upstream,
    says: Arc<Mutex<Says>>,
}

#[derive(Debug, Default)]
struct Says {
    readiness: Readiness,
    instance: Option<String>,
    conduct: Option<Conduct>,
}

impl Backend {
    /// Starts one that is ready, and serves as requests ask ([`Answer::asked_by`]).
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one at an address, such as the one of another that was dropped.
    ///
    /// # Errors
    /// The address is in use.
    pub async fn at(address: SocketAddr) -> Result<Self> {
        let says = Arc::new(Mutex::new(Says::default()));
        let script: Script = {
            let says = Arc::clone(&says);
            Arc::new(move |received| answer(&says, received))
        };
        let upstream = Upstream::at(address, script).await?;
        Ok(Self { upstream, says })
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// Makes it say this of its readiness from now on.
    pub fn set(&self, readiness: Readiness) {
        self.says
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .readiness = readiness;
    }

    /// Makes it serve like this from now on, whatever requests ask for.
    pub fn behave(&self, conduct: Conduct) {
        self.says
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .conduct = Some(conduct);
    }

    /// Lets it die: its connections and its port close at once. The address is nobody else's for as long as the grave is kept.
    ///
    /// # Errors
    /// The address can't be kept.
    pub async fn die(self) -> Result<Grave> {
        let address = self.address();
        drop(self);
        wait::until("the port is closed", async || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            // Bound and not listening: connections are refused.
            Ok(socket.bind(address).is_ok().then_some(Grave(socket)))
        })
        .await
    }

    /// Makes it announce this instance with every answer to a probe from now on.
    pub fn announce(&self, instance: &str) {
        self.says
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .instance = Some(instance.to_owned());
    }

    /// Returns the probes that came so far, in order.
    #[must_use]
    pub fn probes(&self) -> Vec<Received> {
        self.received(true)
    }

    /// Returns the requests that came so far, in order, without the probes.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.received(false)
    }

    fn received(&self, probes: bool) -> Vec<Received> {
        let mut received = self.upstream.received();
        received.retain(|received| is_probe(received) == probes);
        received
    }
}

fn is_probe(received: &Received) -> bool {
    received.path == READY_PATH
}

fn answer(says: &Mutex<Says>, received: &Received) -> Answer {
    let says = says.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_probe(received) {
        let asked = Answer::asked_by(received);
        return match says.conduct {
            None => asked,
            Some(Conduct { delay, status }) => Answer {
                status,
                delay,
                ..asked
            },
        };
    }
    let mut answer = match says.readiness {
        Readiness::Draining(seconds) => {
            Answer::new(503, "draining").header("x-tidegate-drain", &seconds.to_string())
        }
        Readiness::NotReady => Answer::new(503, "not ready"),
        Readiness::Ready => Answer::new(200, "ready"),
        Readiness::Silent => Answer {
            delay: Duration::from_secs(3600),
            ..Answer::new(200, "too late")
        },
    };
    if let Some(instance) = &says.instance {
        answer = answer.header("x-tidegate-instance", instance);
    }
    answer
}
