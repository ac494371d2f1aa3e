//! What the `endpoints` block may say.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::{ops::RangeInclusive, time::Duration};

use super::{
    Admin, Config, Feed, Selector, Source,
    raw::{RawAdmin, RawEndpoints, RawFeed, RawSelector, RawSource, RawStaticCluster},
};
use crate::{
    config::{Problem, Problems, format_duration, parse_duration},
    ejection,
    membership::{Listing, MAX_ENDPOINTS, static_listing},
    passive::FailureStatuses,
    probe,
};

/// Is how many clusters a block may name. Each has a snapshot that nothing ever evicts, and the
/// leader asks for each of them in turn.
const MAX_CLUSTERS: usize = 64;

/// Is the range of the drain window. Below a second a tick is a good part of it; above an hour
/// vanished endpoints fill the picture of a cluster that scales a lot.
const DRAIN_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Is the range of the age at which a picture is not used any more. Below five seconds one takeover
/// and one slow answer make it stale; above an hour addresses belong to others by then.
const STALE_AFTER: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);

/// Is the range of the interval at which a source is asked. Below a tick it means nothing; above a
/// minute an endpoint that left is called for longer than most drains last.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(60);

/// Is the range of the age at which the admin's list is read again. Below five seconds a thousand
/// endpoints take more than half a percent of Envoy's main thread.
const REFRESH: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);

/// Is the range of a feed's timeout, that of a probe.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Is the longest path, in bytes. Proxies refuse longer request lines, some earlier than others.
const MAX_PATH_BYTES: usize = 1024;

/// Is the longest host, in bytes: a name in the DNS has 253, a port 6.
/// SOURCE: RFC 1035 section 2.3.4.
const MAX_HOST_BYTES: usize = 259;

impl Config {
    /// Checks a block at `path` (`$.endpoints`). `None` exactly where it added a problem.
    pub fn check(raw: &RawEndpoints, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut found = Problems::new();
        let config = check(raw, path, &mut found);
        let is_right = found.is_empty();
        for problem in found.into_sorted() {
            problems.push(problem);
        }
        config.filter(|_| is_right)
    }
}

/// Checks all fields; the result holds only where nothing was found.
fn check(raw: &RawEndpoints, path: &str, problems: &mut Problems) -> Option<Config> {
    let clusters = check_selectors(&raw.clusters, &format!("{path}.clusters"), problems);
    let source = check_source(&raw.source, &format!("{path}.source"), problems);
    let probe = raw
        .probe
        .as_ref()
        .map(|raw| probe::Config::check(raw, &format!("{path}.probe"), problems));
    let drain_window = check_duration(
        &raw.drain_window,
        format!("{path}.drain_window"),
        (&DRAIN_WINDOW, "drain-window-out-of-range"),
        problems,
    );
    let failure_statuses = check_statuses(&raw.failure_statuses, path, problems);
    let ejection = raw
        .ejection
        .as_ref()
        .map(|raw| ejection::Config::check(raw, &format!("{path}.ejection"), problems));
    let stale_after = check_duration(
        &raw.stale_after,
        format!("{path}.stale_after"),
        (&STALE_AFTER, "stale-after-out-of-range"),
        problems,
    );
    if let Some(status_path) = &raw.status_path {
        check_path(
            status_path,
            format!("{path}.status_path"),
            ("status-path-invalid", "#?"),
            problems,
        );
    }
    let config = Config {
        clusters,
        source: source?,
        probe: match probe {
            None => None,
            Some(probe) => Some(probe?),
        },
        drain_window: drain_window?,
        failure_statuses: failure_statuses?,
        ejection: match ejection {
            None => None,
            Some(ejection) => Some(ejection?),
        },
        stale_after: stale_after?,
        status_path: raw.status_path.clone(),
    };
    check_together(&config, path, problems);
    Some(config)
}

fn check_selectors(raw: &[RawSelector], path: &str, problems: &mut Problems) -> Vec<Selector> {
    if raw.len() > MAX_CLUSTERS {
        problems.push(Problem::new(
            path,
            "clusters-too-many",
            format!(
                "must list at most {MAX_CLUSTERS} clusters, got {}",
                raw.len()
            ),
            "one prefix covers many",
        ));
        return Vec::new();
    }
    let mut selectors: Vec<Selector> = Vec::with_capacity(raw.len());
    for (index, selector) in raw.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (name, prefix) = (selector.name.as_deref(), selector.prefix.as_deref());
        let Some(selector) = Selector::check(name, prefix, &path, problems) else {
            continue;
        };
        if selectors.contains(&selector) {
            problems.push(Problem::new(
                path,
                "cluster-duplicate",
                "must differ from the other clusters",
                "",
            ));
        }
        selectors.push(selector);
    }
    selectors
}

fn empty_name(path: String, problems: &mut Problems) {
    problems.push(Problem::new(
        path,
        "cluster-name-empty",
        "must not be empty, got \"\"",
        "write the name of an Envoy cluster",
    ));
}

fn check_source(raw: &RawSource, path: &str, problems: &mut Problems) -> Option<Source> {
    match raw {
        RawSource::Admin(raw) => {
            check_admin(raw, &format!("{path}.admin"), problems).map(Source::Admin)
        }
        RawSource::Feed(raw) => {
            check_feed(raw, &format!("{path}.feed"), problems).map(Source::Feed)
        }
        RawSource::Learned(_) => Some(Source::Learned),
        RawSource::Static(raw) => Some(Source::Static(check_static(
            raw,
            &format!("{path}.static"),
            problems,
        ))),
    }
}

fn check_admin(raw: &RawAdmin, path: &str, problems: &mut Problems) -> Option<Admin> {
    if raw.cluster.is_empty() {
        empty_name(format!("{path}.cluster"), problems);
    }
    let interval = check_interval(&raw.interval, path, problems);
    let refresh = check_duration(
        &raw.refresh,
        format!("{path}.refresh"),
        (&REFRESH, "refresh-out-of-range"),
        problems,
    );
    Some(Admin {
        cluster: raw.cluster.clone(),
        interval: interval?,
        refresh: refresh?,
    })
}

fn check_feed(raw: &RawFeed, path: &str, problems: &mut Problems) -> Option<Feed> {
    if raw.cluster.is_empty() {
        empty_name(format!("{path}.cluster"), problems);
    }
    check_path(
        &raw.path,
        format!("{path}.path"),
        ("feed-path-invalid", "#"),
        problems,
    );
    let host = raw.host.as_ref().unwrap_or(&raw.cluster);
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte);
    let is_legal = !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(legal);
    if !is_legal && (raw.host.is_some() || !host.is_empty()) {
        problems.push(Problem::new(
            format!("{path}.host"),
            "feed-host-invalid",
            format!(
                "must be a host, with a port if it has one, of at most {MAX_HOST_BYTES} \
                 characters, got {host:?}"
            ),
            "null takes the cluster's name, which must be such a text then",
        ));
    }
    let interval = check_interval(&raw.interval, path, problems);
    let timeout = check_duration(
        &raw.timeout,
        format!("{path}.timeout"),
        (&TIMEOUT, "timeout-out-of-range"),
        problems,
    );
    Some(Feed {
        cluster: raw.cluster.clone(),
        path: raw.path.clone(),
        host: host.clone(),
        interval: interval?,
        timeout: timeout?,
    })
}

fn check_static(raw: &[RawStaticCluster], path: &str, problems: &mut Problems) -> Vec<Listing> {
    if raw.is_empty() || raw.len() > MAX_CLUSTERS {
        problems.push(Problem::new(
            path,
            "static-clusters-count",
            format!("must have 1 to {MAX_CLUSTERS} clusters, got {}", raw.len()),
            "",
        ));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut listings = Vec::with_capacity(raw.len());
    for (index, cluster) in raw.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if cluster.cluster.is_empty() {
            empty_name(format!("{path}.cluster"), problems);
        } else if !names.insert(cluster.cluster.as_str()) {
            problems.push(Problem::new(
                format!("{path}.cluster"),
                "cluster-duplicate",
                format!("must differ from the others, got {:?}", cluster.cluster),
                "",
            ));
        }
        listings.push(static_listing(
            &format!("{path}.endpoints"),
            &cluster.cluster,
            &cluster.endpoints,
            problems,
        ));
    }
    let endpoints = listings.iter().fold(0_usize, |sum, listing| {
        sum.saturating_add(listing.endpoints().len())
    });
    if endpoints > MAX_ENDPOINTS {
        problems.push(Problem::new(
            path,
            "endpoints-count",
            format!("must have at most {MAX_ENDPOINTS} endpoints in all clusters, got {endpoints}"),
            "",
        ));
    }
    listings
}

/// Checks what depends on more than one field.
fn check_together(config: &Config, path: &str, problems: &mut Problems) {
    let asked = config.source.cluster();
    for (index, selector) in config.clusters.iter().enumerate() {
        if let Selector::Name(name) = selector
            && Some(name.as_str()) == asked
        {
            problems.push(Problem::new(
                format!("{path}.clusters[{index}].name"),
                "source-cluster-listed",
                format!("must not be the cluster of {path}.source, got {name:?}"),
                "its endpoint tells who the others are and is not chosen among them",
            ));
        }
    }
    let Source::Static(listings) = &config.source else {
        return;
    };
    let listed: BTreeMap<&str, usize> = listings
        .iter()
        .enumerate()
        .map(|(index, listing)| (listing.cluster(), index))
        .collect();
    for (name, index) in &listed {
        if !name.is_empty() && !config.knows(name.as_bytes()) {
            problems.push(Problem::new(
                format!("{path}.source.static[{index}].cluster"),
                "static-cluster-unlisted",
                format!("must be one of {path}.clusters, got {name:?}"),
                "nobody would ever look at it",
            ));
        }
    }
}

fn check_statuses(raw: &[u32], path: &str, problems: &mut Problems) -> Option<FailureStatuses> {
    let mut statuses = Some(FailureStatuses::NONE);
    for (index, status) in raw.iter().enumerate() {
        let all = statuses.unwrap_or(FailureStatuses::NONE);
        let more = u16::try_from(*status).ok().and_then(|status| {
            let is_new = !all.has(status);
            all.with(status).filter(|_| is_new)
        });
        if more.is_none() {
            problems.push(Problem::new(
                format!("{path}.failure_statuses[{index}]"),
                "failure-status-invalid",
                format!("must be from 500 to 599 and there once, got {status}"),
                "429 and other answers to what a client does are no endpoint's failure",
            ));
        }
        statuses = statuses.and(more);
    }
    statuses
}

fn check_interval(text: &str, path: &str, problems: &mut Problems) -> Option<Duration> {
    check_duration(
        text,
        format!("{path}.interval"),
        (&INTERVAL, "interval-out-of-range"),
        problems,
    )
}

fn check_duration(
    text: &str,
    path: String,
    (range, code): (&RangeInclusive<Duration>, &'static str),
    problems: &mut Problems,
) -> Option<Duration> {
    match parse_duration(&path, text) {
        Ok(duration) if range.contains(&duration) => return Some(duration),
        Ok(_) => {
            let (least, most) = (
                format_duration(*range.start()),
                format_duration(*range.end()),
            );
            problems.push(Problem::new(
                path,
                code,
                format!("must be from {least} to {most}, got {text:?}"),
                "",
            ));
        }
        Err(problem) => problems.push(problem),
    }
    None
}

/// Checks a path that holds none of the characters in `others`.
fn check_path(
    text: &str,
    path: String,
    (code, others): (&'static str, &str),
    problems: &mut Problems,
) {
    let legal = |byte: u8| byte.is_ascii_graphic() && !others.as_bytes().contains(&byte);
    if text.starts_with('/') && text.len() <= MAX_PATH_BYTES && text.bytes().all(legal) {
        return;
    }
    problems.push(Problem::new(
        path,
        code,
        format!(
            "must begin with / and hold at most {MAX_PATH_BYTES} visible ASCII characters and \
             none of {others:?}, got {text:?}"
        ),
        "",
    ));
}
