//! What the last attempt of a request shows about those before it.

use core::time::Duration;

use super::classify::Outcome;
use crate::{endpoints::Attempt, snapshot::EndpointAddress};

/// Is all that a filter sees which runs once for each request.
#[derive(Clone, Copy, Debug)]
pub struct LastAttempt {
    /// Is how many attempts there were (`upstream.request_attempt_count`), 0 for none; `None` where
    /// the proxy does not say.
    pub attempts: Option<u64>,
    /// Is who the last one was sent to (`upstream.address`).
    pub served_by: Option<EndpointAddress>,
    /// Is how it ended.
    pub outcome: Outcome,
    /// Is the time from the request's beginning to the response's headers.
    pub latency: Option<Duration>,
}

/// Says whether the proxy went by the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Honoured {
    /// Somebody outside of the list served an attempt that has an entry.
    No,
    /// It cannot be told.
    Unclear,
    /// The entry of the last attempt served it.
    Yes,
}

/// Is what a request's end shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Conclusion {
    /// Is how many entries of the list failed, the first ones: each counts as one
    /// [`Attempt::GatewayFailure`].
    pub failed: usize,
    /// Is how the last attempt ended, and at whom; `None` where that is not known.
    pub last: Option<(EndpointAddress, Attempt)>,
    /// Says whether the list was honoured.
    pub honoured: Honoured,
}

impl Conclusion {
    /// Is what shows nothing.
    pub const NOTHING: Self = Self {
        failed: 0,
        last: None,
        honoured: Honoured::Unclear,
    };

    /// Lists what each endpoint did, in the order of attempts. `list` is the one that was concluded
    /// from.
    pub fn attempts<'a>(
        &self,
        list: &'a [EndpointAddress],
    ) -> impl Iterator<Item = (EndpointAddress, Attempt)> + use<'a> {
        list.iter()
            .take(self.failed)
            .map(|address| (*address, Attempt::GatewayFailure))
            .chain(self.last)
    }
}

/// Concludes from the last attempt. `list` is what we wrote, empty where we wrote none; `believed`
/// says that the cluster's lists are honoured ([`super::Honour::is_believed`]).
///
/// | attempt `k` of `n` listed | who served | before it failed | the last one | honoured |
/// | --- | --- | --- | --- | --- |
/// | none | | | | unclear |
/// | not known | anybody | | theirs, untimed | unclear |
/// | `k ≤ n` | the `k`-th | `k − 1` | theirs, timed at `k` = 1 | yes |
/// | `k ≤ n` | another listed | | theirs, timed at `k` = 1 | unclear |
/// | `k ≤ n` | somebody else | | theirs, timed at `k` = 1 | no, where we wrote one |
/// | `k ≤ n` | not known | `k − 1` if believed | the `k`-th's if believed | unclear |
/// | `k > n` | anybody, or not known | all `n` if believed | theirs, timed at `k` = 1 | unclear |
///
/// Another listed one served: the proxy skipped an entry that it does not know, and chose itself.
pub fn conclude(list: &[EndpointAddress], last: &LastAttempt, believed: bool) -> Conclusion {
    let attempt = |timed: bool| last.outcome.to_attempt(last.latency.filter(|_| timed));
    let Some(attempts) = last.attempts else {
        return Conclusion {
            last: last.served_by.map(|address| (address, attempt(false))),
            ..Conclusion::NOTHING
        };
    };
    let Some(before) = attempts.checked_sub(1) else {
        return Conclusion::NOTHING;
    };
    let before = usize::try_from(before).unwrap_or(usize::MAX);
    let timed = before == 0;
    let served = last.served_by.map(|address| (address, attempt(timed)));
    let blamed = if believed { before.min(list.len()) } else { 0 };
    let Some(entry) = list.get(before) else {
        return Conclusion {
            failed: blamed,
            last: served,
            honoured: Honoured::Unclear,
        };
    };
    match last.served_by {
        Some(address) if address == *entry => Conclusion {
            failed: before,
            last: served,
            honoured: Honoured::Yes,
        },
        Some(address) => Conclusion {
            failed: 0,
            last: served,
            honoured: if list.contains(&address) {
                Honoured::Unclear
            } else {
                Honoured::No
            },
        },
        None => Conclusion {
            failed: blamed,
            last: believed.then(|| (*entry, attempt(timed))),
            honoured: Honoured::Unclear,
        },
    }
}
