//! What bounds the retries of a cluster: Envoy's circuit breaker, and the budgets of Envoy, Finagle and gRPC.
//!
//! Model, one of:
//! - `max_retries`, without a budget: retries under way < `max_retries`.
//! - Envoy: retries under way < max(⌊percent / 100 × requests under way⌋, `min_retry_concurrency`).
//! - Finagle: over the last `window`, in ten slices, Σ deposits − Σ withdrawals + reserve ≥ one withdrawal. A request
//!   deposits 1, a retry withdraws 1 / ratio, the reserve is `min_retries_per_second` × window withdrawals. A
//!   withdrawal expires as a deposit does, so the reserve can be spent at once and again a window later.
//! - gRPC: tokens > `max_tokens` / 2. An attempt that fails takes 1, one that succeeds gives `token_ratio`; they stay
//!   within 0 and `max_tokens`, where they begin. Thousandths are counted, as gRPC does.
//!
//! Scope: one per cluster, over all workers. Envoy's counts are the cluster's; Finagle and gRPC have one budget per
//! client process, and are modelled as if the proxy were that process.
//! Cost: O(1); about 100 bytes.
//! Source: Envoy `source/common/upstream/resource_manager_impl.h` (01c2c1f); Finagle
//! `finagle-core/src/main/scala/com/twitter/finagle/service/RetryBudget.scala` (0e26b57) with `TokenBucket.scala` and
//! `WindowedAdder.scala` of Twitter util (1bdeab5); gRPC proposal A6, "Throttling Retry Attempts and Hedged RPCs"
//! (94bed81).
//! Differs: in gRPC an answer counts as a failure only with a status that the policy retries; here with any failure.

use crate::scenario::{CircuitBreakers, RetryBudget};

/// Whether a cluster has a retry to spare.
#[derive(Debug, Clone)]
pub struct Budget(Kind);

#[derive(Debug, Clone)]
enum Kind {
    MaxRetries(u32),
    Concurrency { percent: f64, floor: u32 },
    Finagle(Window),
    Grpc(Tokens),
}

impl Budget {
    /// Begins with what a cluster's circuit breakers say.
    #[must_use]
    pub fn new(limits: &CircuitBreakers) -> Self {
        Self(match limits.retry_budget {
            None => Kind::MaxRetries(limits.max_retries),
            Some(RetryBudget::Concurrency {
                budget_percent,
                min_retry_concurrency,
            }) => Kind::Concurrency {
                percent: budget_percent,
                floor: min_retry_concurrency,
            },
            Some(RetryBudget::Finagle {
                ratio,
                min_retries_per_second,
                window,
            }) => Kind::Finagle(Window::new(ratio, min_retries_per_second, window.ns())),
            Some(RetryBudget::Grpc {
                max_tokens,
                token_ratio,
            }) => Kind::Grpc(Tokens::new(max_tokens, token_ratio)),
        })
    }

    /// A request came; its first attempt begins. Retries are not requests.
    pub fn on_request(&mut self, now_ns: u64) {
        if let Kind::Finagle(window) = &mut self.0 {
            window.deposit(now_ns);
        }
    }

    /// An attempt, the first or a later one, ended. Comes before [`Self::may_retry`] about the same attempt.
    pub fn on_outcome(&mut self, succeeded: bool, _now_ns: u64) {
        if let Kind::Grpc(tokens) = &mut self.0 {
            tokens.settle(succeeded);
        }
    }

    /// Decides whether one more retry may begin, and accounts for it if so: asked last, once per retry.
    ///
    /// `requests_under_way` are the cluster's active and pending requests, over all workers: Envoy's count still has
    /// the attempt whose answer is being looked at, but not one that never got a connection. `retries_under_way` are
    /// counted from the decision to the attempt's end.
    #[must_use]
    pub fn may_retry(
        &mut self,
        requests_under_way: u32,
        retries_under_way: u32,
        now_ns: u64,
    ) -> bool {
        match &mut self.0 {
            Kind::MaxRetries(most) => retries_under_way < *most,
            Kind::Concurrency { percent, floor } => {
                // Envoy converts to an integer, which cuts. As floats the comparison is the same.
                let share = (*percent / 100.0 * f64::from(requests_under_way)).floor();
                f64::from(retries_under_way) < share.max(f64::from(*floor))
            }
            Kind::Finagle(window) => window.withdraw(now_ns),
            Kind::Grpc(tokens) => tokens.allow(),
        }
    }
}

/// Slices that a window has: the one being filled, and those before it.
///
/// SOURCE: `TokenBucket.newLeakyBucket` asks for 10, and `WindowedAdder` keeps one of them as the current one.
const SLICES: usize = 10;

/// What one request is worth. A ratio is kept to its thousandth by it.
///
/// SOURCE: `TokenRetryBudget.ScaleFactor`.
const DEPOSIT: i64 = 1_000;

/// Deposits and withdrawals that expire.
#[derive(Debug, Clone)]
struct Window {
    /// What a request adds; 0 when only the reserve counts.
    deposit: i64,
    /// What a retry costs.
    withdrawal: i64,
    reserve: i64,
    /// Length of a slice in nanoseconds, at least 1.
    slice_ns: u64,
    /// Sums of the slices; the first is the one being filled.
    slices: [i64; SLICES],
    /// When the first slice began.
    began_ns: u64,
}

impl Window {
    fn new(ratio: f64, min_retries_per_second: u32, window_ns: u64) -> Self {
        let by_requests = ratio > 0.0;
        let cost = if by_requests { 1_000.0 / ratio } else { 1.0 };
        let withdrawal = whole(cost).max(1);
        // Finagle counts the whole seconds of its window.
        let seconds = i64::try_from(window_ns / 1_000_000_000).unwrap_or(i64::MAX);
        Self {
            deposit: if by_requests { DEPOSIT } else { 0 },
            withdrawal,
            reserve: i64::from(min_retries_per_second)
                .saturating_mul(seconds)
                .saturating_mul(withdrawal),
            slice_ns: (window_ns / 10).max(1),
            slices: [0; SLICES],
            began_ns: 0,
        }
    }

    fn deposit(&mut self, now_ns: u64) {
        self.add(self.deposit, now_ns);
    }

    fn withdraw(&mut self, now_ns: u64) -> bool {
        self.roll(now_ns);
        let balance = self
            .slices
            .iter()
            .fold(self.reserve, |sum, slice| sum.saturating_add(*slice));
        let enough = balance >= self.withdrawal;
        if enough {
            self.add(self.withdrawal.saturating_neg(), now_ns);
        }
        enough
    }

    fn add(&mut self, amount: i64, now_ns: u64) {
        self.roll(now_ns);
        if let Some(current) = self.slices.first_mut() {
            *current = current.saturating_add(amount);
        }
    }

    /// Lets slices expire. A slice ends with the first look at it after its time, so a slice may last longer.
    fn roll(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.began_ns) / self.slice_ns;
        if passed == 0 {
            return;
        }
        let steps = usize::try_from(passed).unwrap_or(SLICES).min(SLICES);
        self.slices.rotate_right(steps);
        for slice in self.slices.iter_mut().take(steps) {
            *slice = 0;
        }
        self.began_ns = now_ns;
    }
}

/// Tokens in thousandths.
#[derive(Debug, Clone)]
struct Tokens {
    most: i64,
    now: i64,
    per_success: i64,
}

impl Tokens {
    fn new(max_tokens: f64, token_ratio: f64) -> Self {
        let most = whole(max_tokens * 1_000.0).max(0);
        Self {
            most,
            now: most,
            per_success: whole(token_ratio * 1_000.0).max(0),
        }
    }

    fn settle(&mut self, succeeded: bool) {
        let change = if succeeded { self.per_success } else { -1_000 };
        self.now = self.now.saturating_add(change).clamp(0, self.most);
    }

    const fn allow(&self) -> bool {
        self.now > self.most / 2
    }
}

/// Cuts a number to a whole one; what isn't one, or doesn't fit, saturates, and NaN is 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a conversion from floats that saturates, which is what is wanted"
)]
const fn whole(number: f64) -> i64 {
    number as i64
}

#[cfg(test)]
mod tests;
