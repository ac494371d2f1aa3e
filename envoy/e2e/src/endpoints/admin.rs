//! Stands between the plugin and Envoy's admin: counts what is asked, and answers itself where a test wants a fault.
//!
//! Why: the admin's port is the kernel's choice and known only once Envoy runs, while the cluster that leads there is part of the
//! configuration; and a real admin does not lie.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::upstream::{Answer, Received, Script, Upstream};

/// Says what to answer; `None` leaves it to Envoy's admin.
pub type Play = Arc<dyn Fn(&Received) -> Option<Answer> + Send + Sync>;

/// What the plugin takes for Envoy's admin.
#[derive(Debug)]
pub struct Admin {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    real: Option<SocketAddr>,
    play: Option<Play>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("real", &self.real)
            .field("plays", &self.play.is_some())
            .finish()
    }
}

impl Admin {
    /// Starts one that answers 503 until it leads somewhere.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let script: Script = {
            let state = Arc::clone(&state);
            Arc::new(move |received| {
                state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .answer(received)
            })
        };
        let upstream = Upstream::scripted(script).await?;
        Ok(Self { upstream, state })
    }

    /// Returns the address for the plugin.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// Leads to this admin from now on.
    pub fn lead_to(&self, real: SocketAddr) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .real = Some(real);
    }

    /// Answers like this from now on.
    pub fn play(&self, play: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .play = Some(Arc::new(play));
    }

    /// Leaves all answers to Envoy's admin again.
    pub fn play_no_more(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .play = None;
    }

    /// Returns what was asked so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Received> {
        self.upstream.received()
    }
}

impl State {
    fn answer(&self, received: &Received) -> Answer {
        let played = self.play.as_ref().and_then(|play| play(received));
        played.unwrap_or_else(|| match self.real {
            Some(real) => Answer::of(real),
            None => Answer::new(503, "not yet"),
        })
    }
}
