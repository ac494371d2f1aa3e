//! Whom the leader asks who the endpoints are.

use alloc::{boxed::Box, rc::Rc, string::String, vec::Vec};

use super::{
    Answer, Call, CallKey, Happened, Lead, SourceError,
    calls::{Asked, body},
    feed::FeedAsker,
    owned,
    reading::Reading,
};
use crate::{
    endpoints::Source,
    membership::{Listing, MAX_ANSWER_BYTES, Pace, Poll, Progress, Question, StatsParser, Subject},
    units::WallTime,
};

/// Is the longest answer about counters, in bytes. It is read in one go: five lines for each of 128
/// clusters take 50 kB.
const MAX_COUNTERS_BYTES: usize = 262_144;

/// Is the host of a request to the admin, which does not look at it.
const ADMIN_HOST: &str = "admin";

/// Is what a request to a source says it is.
const USER_AGENT: &str = "tidegate-endpoints/1";

/// Is whoever is asked, and how far that is.
#[derive(Debug)]
pub(super) enum Asker {
    Admin(Box<AdminAsker>),
    Feed(Box<FeedAsker>),
    /// The configuration or the traffic says it.
    Nobody,
}

/// Asks Envoy's admin.
#[derive(Debug)]
pub(super) struct AdminAsker {
    poll: Poll,
    call: Option<CallKey>,
    /// Is the list that is read, and of which cluster.
    reading: Option<(String, Reading)>,
}

impl Asker {
    pub(super) fn new(source: &Source) -> Self {
        match source {
            Source::Admin(admin) => {
                let pace = Pace::default();
                Self::Admin(Box::new(AdminAsker {
                    poll: Poll::new(Pace {
                        interval: admin.interval,
                        refresh: admin.refresh,
                        blind_refresh: pace.blind_refresh.min(admin.refresh),
                        ..pace
                    }),
                    call: None,
                    reading: None,
                }))
            }
            Source::Feed(_) => Self::Feed(Box::new(FeedAsker::new())),
            Source::Learned | Source::Static(_) => Self::Nobody,
        }
    }

    pub(super) fn add(&mut self, cluster: &str) {
        if let Self::Admin(admin) = self {
            admin.poll.add(cluster);
        }
    }
}

impl Lead {
    /// Gives up questions whose answer has not come, or is not read, in time.
    pub(super) fn give_up(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let given_up = match (&mut self.asker, self.config.source()) {
            (Asker::Admin(admin), _) => {
                let failed = admin.poll.failed();
                admin.poll.on_tick(draw(), now);
                if !admin.poll.is_reading() {
                    admin.reading = None;
                }
                let call = if admin.poll.is_waiting() {
                    None
                } else {
                    admin.call.take()
                };
                (admin.poll.failed() > failed).then_some(call)
            }
            (Asker::Feed(asker), Source::Feed(feed)) => {
                let call = asker.call;
                asker.on_tick(feed, draw(), now).then_some(call)
            }
            _ => None,
        };
        if let Some(call) = given_up {
            if let Some(call) = call {
                self.calls.remove(&call);
            }
            self.count_source_error(SourceError::NoAnswer);
        }
    }

    /// Is what to ask the source now.
    pub(super) fn poll_source(
        &mut self,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) -> Option<Call> {
        let config = Rc::clone(&self.config);
        match (&mut self.asker, config.source()) {
            (Asker::Admin(asker), Source::Admin(admin)) => {
                let Question {
                    subject,
                    path,
                    timeout,
                    deadline: _,
                } = asker.poll.poll_question(draw(), now)?;
                let key = self.ask(Asked::Admin(subject));
                if let Asker::Admin(asker) = &mut self.asker {
                    asker.call = Some(key);
                }
                Some(Call {
                    key,
                    cluster: admin.cluster.clone(),
                    headers: get(&path, ADMIN_HOST),
                    timeout,
                })
            }
            (Asker::Feed(asker), Source::Feed(feed)) => {
                if !asker.is_due(now) {
                    return None;
                }
                let key = self.ask(Asked::Feed);
                if let Asker::Feed(asker) = &mut self.asker {
                    asker.on_asked(key, feed, now);
                }
                Some(Call {
                    key,
                    cluster: feed.cluster.clone(),
                    headers: get(&feed.path, &feed.host),
                    timeout: feed.timeout,
                })
            }
            _ => None,
        }
    }

    /// Takes an answer of the source.
    pub(super) fn on_source_answer(
        &mut self,
        asked: &Asked,
        answer: &dyn Answer,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) {
        let most_bytes = match asked {
            Asked::Admin(Subject::Counters) => MAX_COUNTERS_BYTES,
            _ => MAX_ANSWER_BYTES,
        };
        let bytes = match body(answer, most_bytes) {
            Ok(bytes) => bytes,
            Err(error) => return self.source_failed(asked, error, now, draw),
        };
        match (asked, &mut self.asker) {
            (Asked::Admin(Subject::Counters), Asker::Admin(admin)) => {
                admin.call = None;
                let Progress::Done(counters) = StatsParser::new().advance(&bytes, usize::MAX)
                else {
                    return self.source_failed(asked, SourceError::Unreadable, now, draw);
                };
                for cluster in admin.poll.on_counters(&counters, now) {
                    let index = self.board(&cluster);
                    if let Some(board) = index.and_then(|index| self.boards.get_mut(index)) {
                        board.confirm(now);
                    }
                }
            }
            (Asked::Admin(Subject::List { cluster }), Asker::Admin(admin)) => {
                admin.call = None;
                admin.poll.on_reading(now);
                admin.reading = Some((cluster.clone(), Reading::of_clusters(bytes, now)));
                self.read_on(now, draw);
            }
            (Asked::Feed, Asker::Feed(asker)) => {
                asker.on_reading(Reading::of_feed(bytes, now), now);
                self.read_on(now, draw);
            }
            _ => {}
        }
    }

    /// Takes note that a question came to nothing.
    pub(super) fn source_failed(
        &mut self,
        asked: &Asked,
        error: SourceError,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) {
        self.count_source_error(error);
        match (asked, &mut self.asker, self.config.source()) {
            (Asked::Admin(subject), Asker::Admin(admin), _) => {
                admin.call = None;
                admin.poll.on_failed(subject, draw(), now);
                if let Subject::List { cluster } = subject {
                    self.membership.on_refused(cluster, now);
                }
            }
            (Asked::Feed, Asker::Feed(asker), Source::Feed(feed)) => {
                asker.on_failed(feed, draw(), now);
            }
            _ => {}
        }
    }

    /// Reads a slice of the answer that is read.
    pub(super) fn read_on(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let config = Rc::clone(&self.config);
        match (&mut self.asker, config.source()) {
            (Asker::Admin(admin), _) => {
                let Some((cluster, reading)) = &mut admin.reading else {
                    return;
                };
                let Some(read) = reading.advance() else {
                    return;
                };
                let (cluster, arrived) = (core::mem::take(cluster), reading.arrived);
                admin.reading = None;
                let error = match read {
                    Ok(listings) => match self.apply(&cluster, &listings, arrived, now) {
                        Ok((endpoints, observability_name)) => {
                            if let Asker::Admin(admin) = &mut self.asker {
                                let poll = &mut admin.poll;
                                poll.on_listed(&cluster, endpoints, &observability_name);
                            }
                            return;
                        }
                        Err(error) => error,
                    },
                    Err(_) => {
                        self.membership.on_refused(&cluster, now);
                        SourceError::Unreadable
                    }
                };
                self.count_source_error(error);
                if let Asker::Admin(admin) = &mut self.asker {
                    let subject = Subject::List { cluster };
                    admin.poll.on_failed(&subject, draw(), now);
                }
            }
            (Asker::Feed(asker), Source::Feed(feed)) => {
                let Some(reading) = &mut asker.reading else {
                    return;
                };
                let Some(read) = reading.advance() else {
                    return;
                };
                let arrived = reading.arrived;
                match read {
                    Ok(listings) => {
                        asker.on_read(feed, draw(), now);
                        self.apply_feed(&listings, arrived, now);
                    }
                    Err(_) => {
                        asker.on_failed(feed, draw(), now);
                        self.count_source_error(SourceError::Unreadable);
                    }
                }
            }
            _ => {}
        }
    }

    /// Applies what a feed says of each cluster. One that it lacks ages.
    fn apply_feed(&mut self, listings: &[Listing], arrived: WallTime, now: WallTime) {
        for index in 0..self.boards.len() {
            let Some(board) = self.boards.get(index) else {
                return;
            };
            let cluster = board.name.clone();
            let found = listings
                .binary_search_by(|listing| listing.cluster().cmp(&cluster))
                .ok()
                .and_then(|place| listings.get(place));
            let listing = found.map(core::slice::from_ref).unwrap_or_default();
            if let Err(error) = self.apply(&cluster, listing, arrived, now) {
                self.count_source_error(error);
            }
        }
    }

    /// Applies a listing that came at `arrived`. Returns how many endpoints it has, and the name
    /// that Envoy counts them under.
    fn apply(
        &mut self,
        cluster: &str,
        listings: &[Listing],
        arrived: WallTime,
        now: WallTime,
    ) -> Result<(usize, String), SourceError> {
        let change = self
            .membership
            .apply(cluster, listings, now)
            .map_err(|_| SourceError::NotApplied)?;
        let index = self.board(cluster);
        if let Some(board) = index.and_then(|index| self.boards.get_mut(index)) {
            board.is_outdated |= !change.is_nothing() || board.confirmed_at.is_none();
            board.confirm(arrived);
        }
        let listing = listings.first();
        Ok(listing.map_or_else(Default::default, |listing| {
            let name = String::from(listing.observability_name());
            (listing.endpoints().len(), name)
        }))
    }

    fn count_source_error(&mut self, error: SourceError) {
        self.counts.source_errors = self.counts.source_errors.saturating_add(1);
        self.happen(Happened::SourceFailed(error));
    }
}

/// Are the headers of a question.
fn get(path: &str, host: &str) -> Vec<(String, String)> {
    owned([
        (":method", "GET"),
        (":path", path),
        (":authority", host),
        ("user-agent", USER_AGENT),
    ])
}
