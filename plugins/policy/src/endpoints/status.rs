//! The picture as JSON, for an operator who asks why.
//!
//! Why: a metric says that an endpoint is ejected, not which one, since when and on whose word.
//! Output: one object: what is shown, for whom it was made, and a list of clusters. A cluster
//! without a picture has its reason in place of its endpoints. All times are milliseconds of the
//! proxy's clock.
//! Limits: [`MAX_STATUS_BYTES`]; behind that endpoints are left out and counted, so that the answer
//! never costs a VM more. `?cluster=NAME` shows one cluster. Instances are shown as the digests that
//! they are.
//! Scope: what this VM has read. Cost: O(endpoints shown), about 300 bytes each.

use alloc::{string::String, vec::Vec};
use core::{fmt::Write, num::NonZeroU64};

use super::{
    config::{Config, Source},
    follow::{Follower, Known, Unknown},
};
use crate::{
    config::write_json_string,
    snapshot::{Entry, State},
    units::WallTime,
};

/// Is how long the answer gets: 256 KiB, about 850 endpoints. A VM keeps the memory for good.
pub const MAX_STATUS_BYTES: usize = 256 * 1024;

/// Is what one endpoint takes at most: a zone of 64 bytes may need six for each.
const MAX_ENDPOINT_BYTES: usize = 1024;

/// Is what one cluster takes besides its endpoints: a name of 512 bytes may need six for each.
const MAX_CLUSTER_BYTES: usize = 4096;

/// Is a request for the status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusQuery {
    /// Is the one cluster to show; `None` for all.
    pub cluster: Option<Vec<u8>>,
}

impl StatusQuery {
    /// Reads a request's `:path`; `None` where it is another path than `status_path`.
    #[must_use]
    pub fn parse(path: &[u8], status_path: &str) -> Option<Self> {
        let rest = path.strip_prefix(status_path.as_bytes())?;
        let query = match rest.split_first() {
            None => &[],
            Some((b'?', query)) => query,
            Some(_) => return None,
        };
        let cluster = query
            .split(|byte| *byte == b'&')
            .find_map(|pair| pair.strip_prefix(b"cluster="));
        Some(Self {
            cluster: cluster.map(decode),
        })
    }

    fn shows(&self, cluster: &str) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|only| only.as_slice() == cluster.as_bytes())
    }
}

/// Is what the status is made of.
#[derive(Debug)]
pub struct Status<'a> {
    /// Is the block.
    pub config: &'a Config,
    /// Is what this VM holds.
    pub follower: &'a Follower,
    /// Says whether this VM leads, and in which epoch.
    pub term: Option<u64>,
}

impl Status<'_> {
    /// Appends the status. `clusters` are those that this VM wants to know, sorted.
    pub fn write<'c>(
        &self,
        out: &mut String,
        query: &StatusQuery,
        clusters: impl IntoIterator<Item = &'c str>,
        now: WallTime,
    ) {
        let most = out.len().saturating_add(MAX_STATUS_BYTES);
        let source = match self.config.source() {
            Source::Admin(_) => "admin",
            Source::Feed(_) => "feed",
            Source::Learned => "learned",
            Source::Static(_) => "static",
        };
        put(
            out,
            format_args!(
                r#"{{"schema":1,"configuration":"{:016x}","source":"{source}","now_ms":{},"#,
                self.config.digest(),
                ms(now)
            ),
        );
        match self.term {
            Some(epoch) => put(out, format_args!(r#""leads_in_epoch":{epoch},"#)),
            None => out.push_str(r#""leads_in_epoch":null,"#),
        }
        put(
            out,
            format_args!(r#""workers":{},"#, self.follower.workers()),
        );
        out.push_str(r#""clusters":["#);
        let mut left_out = 0_usize;
        let mut separator = "";
        let held = |wanted: &str| {
            let mut held = self.follower.held();
            held.find_map(|(cluster, known)| (cluster == wanted).then_some(known))
        };
        for cluster in clusters.into_iter().filter(|cluster| query.shows(cluster)) {
            if out.len().saturating_add(MAX_CLUSTER_BYTES) > most {
                left_out = left_out.saturating_add(1);
                continue;
            }
            out.push_str(separator);
            separator = ",";
            out.push_str(r#"{"cluster":"#);
            write_json_string(out, cluster);
            match held(cluster) {
                None => put(
                    out,
                    format_args!(r#","picture":"{}"}}"#, Unknown::NotYet.as_str()),
                ),
                Some(known) => self.write_known(out, &known, most, now),
            }
        }
        put(out, format_args!(r#"],"clusters_left_out":{left_out}}}"#));
        out.push('\n');
    }

    fn write_known(&self, out: &mut String, known: &Known<'_>, most: usize, now: WallTime) {
        let Known { view, version } = known;
        let is_stale = version.is_stale(now, self.config.stale_after());
        let picture = if is_stale {
            Unknown::Stale.as_str()
        } else {
            "known"
        };
        put(
            out,
            format_args!(
                r#","picture":"{picture}","epoch":{},"generation":{},"confirmed_at_ms":{},"age_ms":{},"published_at_ms":{},"endpoints_total":{},"endpoints":["#,
                version.epoch,
                version.generation,
                ms(version.confirmed_at),
                version.age(now).as_millis(),
                ms(view.header().published_at),
                view.len(),
            ),
        );
        let mut shown = 0_usize;
        for entry in view.iter() {
            if out.len().saturating_add(MAX_ENDPOINT_BYTES) > most {
                break;
            }
            if shown > 0 {
                out.push(',');
            }
            shown = shown.saturating_add(1);
            write_endpoint(out, &entry);
        }
        let left_out = view.len().saturating_sub(shown);
        put(out, format_args!(r#"],"endpoints_left_out":{left_out}}}"#));
    }
}

fn write_endpoint(out: &mut String, entry: &Entry<'_>) {
    let endpoint = &entry.endpoint;
    put(
        out,
        format_args!(
            r#"{{"address":"{}","state":"{}","#,
            entry.address,
            endpoint.state.as_str()
        ),
    );
    match endpoint.state {
        State::Ejected { until } | State::Draining { until } | State::Vanished { until }
            if !is_never(until) =>
        {
            put(out, format_args!(r#""until_ms":{},"#, ms(until)));
        }
        State::Available {
            slow_start: Some(since),
        } => put(out, format_args!(r#""slow_start_ms":{},"#, ms(since))),
        _ => {}
    }
    put(
        out,
        format_args!(
            r#""eds_health":"{}","weight":{},"priority":{},"joins":{},"absent_until_ms":{},"zone":"#,
            endpoint.eds_health.as_str(),
            endpoint.weight,
            endpoint.priority,
            endpoint.since.generation,
            ms(endpoint.since.at),
        ),
    );
    write_json_string(out, &String::from_utf8_lossy(entry.zone));
    match endpoint.instance.map(NonZeroU64::get) {
        Some(instance) => put(out, format_args!(r#","instance":"{instance:016x}""#)),
        None => out.push_str(r#","instance":null"#),
    }
    match endpoint.latency {
        Some(latency) => put(
            out,
            format_args!(
                r#","latency_us":{},"latency_at_ms":{}"#,
                latency.estimate_us,
                ms(latency.at)
            ),
        ),
        None => out.push_str(r#","latency_us":null"#),
    }
    let failures = endpoint.failures;
    put(
        out,
        format_args!(
            r#","gateway_failures_in_row":{},"local_failures_in_row":{},"ejections":{},"ejected_for":"#,
            failures.gateway_in_row, failures.local_in_row, failures.ejections
        ),
    );
    match failures.ejections {
        0 => out.push_str("null}"),
        _ => put(
            out,
            format_args!(r#""{}"}}"#, endpoint.ejected_for.as_str()),
        ),
    }
}

/// Says whether a moment is the last one that a snapshot can hold: not time readmits, but a probe or
/// the source.
fn is_never(moment: WallTime) -> bool {
    ms(moment) >= ms(WallTime::from_ns(u64::MAX))
}

const fn ms(moment: WallTime) -> u64 {
    moment.as_ns() / 1_000_000
}

fn put(out: &mut String, text: core::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = out.write_fmt(text);
}

/// Undoes percent-encoding; what is none stays as it is.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail
            .split_first_chunk::<2>()
            .filter(|_| *byte == b'%')
            .and_then(|([high, low], tail)| {
                let high = char::from(*high).to_digit(16)?;
                let low = char::from(*low).to_digit(16)?;
                let byte = u8::try_from(high.saturating_mul(16).saturating_add(low)).ok()?;
                Some((byte, tail))
            });
        match digits {
            Some((byte, tail)) => {
                bytes.push(byte);
                rest = tail;
            }
            None => bytes.push(*byte),
        }
    }
    bytes
}
