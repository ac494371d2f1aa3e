//! A world for one leader: a clock, shared data, and whoever answers its calls.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use tidegate_policy::{
    config::{Problems, from_json},
    endpoints::{
        Answer, Call, CallKey, Config, Happened, KEY_PLUGIN, Lead, RawEndpoints, SourceError,
    },
    snapshot::{
        EjectionCause, Endpoint, EndpointAddress, SnapshotView, State, Version, VersionsView,
        cluster_digest, snapshot_key, versions_key,
    },
    units::WallTime,
};

/// Is the header that steers probes.
pub(crate) const HEADER: &str = "x-tidegate-endpoint";

/// Is when a world begins, in milliseconds.
pub(crate) const START: u64 = 1_700_000_000_000;

/// Is the time from one tick to the next, in milliseconds.
pub(crate) const TICK: u64 = 250;

/// Is a moment, in milliseconds since the world began.
pub(crate) fn at(ms: u64) -> WallTime {
    WallTime::from_ns((START + ms) * 1_000_000)
}

/// Reads a block.
pub(crate) fn block(json: &str) -> Rc<Config> {
    let raw: RawEndpoints = from_json(json, "").unwrap();
    let mut problems = Problems::new();
    let config = Config::check(&raw, "$.endpoints", &mut problems);
    Rc::new(config.unwrap_or_else(|| panic!("{:?}", problems.into_sorted())))
}

/// Is what a call gets as its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Is what the host says of the body's length, where that is not true.
    pub(crate) claims: Option<usize>,
}

impl Given {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: Some(200),
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl Answer for Given {
    fn status(&self) -> Option<u16> {
        self.status
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| *known == name)?;
        Some(value.as_bytes().to_vec())
    }

    fn body_bytes(&self) -> usize {
        self.claims.unwrap_or(self.body.len())
    }

    fn body(&self) -> Option<Vec<u8>> {
        assert!(self.claims.is_none(), "a body that is too long was copied");
        Some(self.body.clone())
    }
}

/// Says what is wrong with a source's answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    Garbage,
    Truncated,
    Huge,
    OtherCluster,
    Unavailable,
    Never,
    Reset,
    NotSent,
}

/// Is one endpoint as the admin lists it: the last number of its address, and what follows
/// `health_status` in the admin's JSON.
pub(crate) type Host = (u8, &'static str);

/// Is an endpoint that is healthy.
pub(crate) fn healthy(number: u8) -> Host {
    (number, r#""eds_health_status": "HEALTHY""#)
}

/// Is everything around a leader.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) config: Rc<Config>,
    pub(crate) lead: Lead,
    pub(crate) shared: BTreeMap<String, Vec<u8>>,
    /// Are the keys that the last tick wrote, in order.
    pub(crate) written: Vec<String>,
    /// Are the clusters as the admin lists them, each with how often it changed.
    pub(crate) clusters: BTreeMap<String, (u64, Vec<Host>)>,
    /// Is what a feed answers.
    pub(crate) feed: Vec<u8>,
    pub(crate) fault: Fault,
    /// Is how an endpoint answers a probe, by its last number; 200 where nothing is said.
    pub(crate) readiness: BTreeMap<u8, Given>,
    /// Says which writes are refused.
    pub(crate) refuses: fn(&str) -> bool,
    /// Are the calls of the last tick.
    pub(crate) calls: Vec<Call>,
    pub(crate) failures: Vec<SourceError>,
    /// Are the ejections so far, by their cause; and the readmissions.
    pub(crate) ejected: Vec<EjectionCause>,
    pub(crate) readmitted: u32,
    waiting: VecDeque<(CallKey, Given)>,
    draws: u64,
}

impl World {
    pub(crate) fn new(json: &str) -> Self {
        let config = block(json);
        Self {
            now_ms: 0,
            lead: Lead::new(Rc::clone(&config), HEADER, 1, at(0)),
            config,
            shared: BTreeMap::new(),
            written: Vec::new(),
            clusters: BTreeMap::new(),
            feed: Vec::new(),
            fault: Fault::None,
            readiness: BTreeMap::new(),
            refuses: |_| false,
            calls: Vec::new(),
            failures: Vec::new(),
            ejected: Vec::new(),
            readmitted: 0,
            waiting: VecDeque::new(),
            draws: 1,
        }
    }

    /// Lists a cluster in the admin.
    pub(crate) fn list(&mut self, cluster: &str, hosts: impl IntoIterator<Item = Host>) {
        let (change, listed) = self.clusters.entry(cluster.to_owned()).or_default();
        *change += 1;
        *listed = hosts.into_iter().collect();
    }

    /// Lets the clock go on by a tick, and does the tick.
    pub(crate) fn tick(&mut self) {
        self.now_ms += TICK;
        self.tick_now();
    }

    /// Does a tick at the present time: what was asked before is answered first.
    pub(crate) fn tick_now(&mut self) {
        let now = at(self.now_ms);
        let mut state = self.draws;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        for (key, answer) in std::mem::take(&mut self.waiting) {
            self.lead.on_answer(key, &answer, now, &mut draw);
        }
        self.lead.on_tick(now, &mut draw);
        self.calls.clear();
        while let Some(call) = self.lead.poll_call(now, &mut draw) {
            if let Some(answer) = self.answer(&call) {
                self.waiting.push_back((call.key, answer));
            } else if self.fault == Fault::NotSent {
                self.lead.on_not_sent(call.key, now, &mut draw);
            }
            self.calls.push(call);
            assert!(self.calls.len() < 10_000, "calls without end");
        }
        self.draws = state;
        self.written.clear();
        while let Some(publication) = self.lead.poll_publication(now) {
            if (self.refuses)(&publication.key) {
                self.lead.on_not_written(&publication);
            } else {
                self.written.push(publication.key.clone());
                self.shared.insert(publication.key, publication.bytes);
            }
            assert!(self.written.len() < 10_000, "writes without end");
        }
        while let Some(happened) = self.lead.poll_happened() {
            match happened {
                Happened::SourceFailed(error) => self.failures.push(error),
                Happened::Ejected { cause } => self.ejected.push(cause.kind()),
                Happened::Readmitted => self.readmitted += 1,
                Happened::Probed(_) => {}
            }
        }
    }

    /// Ticks for so long.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK {
            self.tick();
        }
    }

    /// Lets another VM take over, with what lies in shared data.
    pub(crate) fn take_over(&mut self, clusters: &[&str]) {
        let epoch = self.lead.epoch() + 1;
        let now = at(self.now_ms);
        let mut lead = Lead::new(Rc::clone(&self.config), HEADER, epoch, now);
        for cluster in clusters {
            let key = snapshot_key(KEY_PLUGIN, self.config.digest(), cluster.as_bytes());
            if let Some(bytes) = self.shared.get(&key) {
                let confirmed_at = self.version(cluster).map(|version| version.confirmed_at);
                lead.restore(cluster, bytes, confirmed_at, now);
            }
        }
        self.lead = lead;
        self.waiting.clear();
    }

    /// Is the key of a cluster's snapshot.
    pub(crate) fn key(&self, cluster: &str) -> String {
        snapshot_key(KEY_PLUGIN, self.config.digest(), cluster.as_bytes())
    }

    /// Is the version that is published of a cluster.
    pub(crate) fn version(&self, cluster: &str) -> Option<Version> {
        let bytes = self.shared.get(&self.versions_key())?;
        let versions = VersionsView::open(bytes).unwrap();
        versions.get(cluster_digest(cluster.as_bytes()))
    }

    pub(crate) fn versions_key(&self) -> String {
        versions_key(KEY_PLUGIN, self.config.digest())
    }

    /// Is when the source vouched for a cluster last, in milliseconds since the world began.
    pub(crate) fn confirmed_ms(&self, cluster: &str) -> u64 {
        let confirmed_at = self.version(cluster).unwrap().confirmed_at;
        (confirmed_at.as_ns() / 1_000_000).saturating_sub(START)
    }

    /// Is what is published of a cluster: each endpoint's last number and its state's first letter;
    /// a `-` where nothing is.
    pub(crate) fn shown(&self, cluster: &str) -> String {
        let Some(version) = self.version(cluster) else {
            return "-".to_owned();
        };
        let view = SnapshotView::open(&self.shared[&self.key(cluster)]).unwrap();
        let header = view.header();
        assert_eq!(header.generation, version.generation, "{cluster}");
        assert_eq!(header.epoch, version.epoch, "{cluster}");
        let endpoints = view.iter().map(|entry| {
            let address = entry.address.ip.to_string();
            let number = address.rsplit('.').next().unwrap();
            format!("{number}{}", letter(entry.endpoint.state))
        });
        endpoints.collect::<Vec<_>>().join(" ")
    }

    /// Is what is published of an endpoint.
    pub(crate) fn endpoint(&self, cluster: &str, number: u8) -> Endpoint {
        let bytes = &self.shared[&self.key(cluster)];
        let view = SnapshotView::open(bytes).unwrap();
        view.get(&address(number)).unwrap().endpoint
    }

    fn answer(&self, call: &Call) -> Option<Given> {
        let header = |wanted: &str| {
            let mut headers = call.headers.iter();
            let found = headers.find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        if let Some(endpoint) = header(HEADER) {
            let address = EndpointAddress::parse(endpoint.as_bytes()).unwrap();
            let text = address.ip.to_string();
            let number: u8 = text.rsplit('.').next().unwrap().parse().unwrap();
            let answer = self.readiness.get(&number).cloned();
            return Some(answer.unwrap_or_else(|| Given::status(200)));
        }
        let path = header(":path").unwrap();
        let body = if path.starts_with("/stats") {
            self.stats().into_bytes()
        } else if path.starts_with("/clusters") {
            self.listing(path).into_bytes()
        } else {
            self.feed.clone()
        };
        match self.fault {
            Fault::None => Some(Given::ok(body)),
            Fault::Garbage => Some(Given::ok("<html>\0\u{ff}no</html>\n".to_owned())),
            Fault::Truncated => Some(Given::ok(&body[..body.len() - body.len() / 3 - 1])),
            Fault::Huge => Some(Given {
                claims: Some(64 << 20),
                ..Given::ok("")
            }),
            Fault::OtherCluster if path.starts_with("/clusters") => {
                Some(Given::ok(clusters_json("other", &[healthy(99)])))
            }
            Fault::OtherCluster => Some(Given::ok(
                r#"{"version": 1, "clusters": [{"name": "other", "endpoints": []}]}"#,
            )),
            Fault::Unavailable => Some(Given::status(503)),
            Fault::Reset => Some(Given::default()),
            Fault::Never | Fault::NotSent => None,
        }
    }

    fn stats(&self) -> String {
        let clusters = self.clusters.iter();
        let lines = clusters.map(|(name, (change, hosts))| {
            format!(
                "cluster.{name}.membership_change: {change}\ncluster.{name}.membership_total: {}\n",
                hosts.len()
            )
        });
        lines.collect()
    }

    fn listing(&self, path: &str) -> String {
        let name = path.split("%5E").nth(1).unwrap().split("%24").next();
        let name = name.unwrap();
        match self.clusters.get(name) {
            Some((_, hosts)) => clusters_json(name, hosts),
            None => "{}".to_owned(),
        }
    }
}

/// Is an endpoint's address.
pub(crate) fn address(number: u8) -> EndpointAddress {
    EndpointAddress::parse(format!("10.0.0.{number}:80").as_bytes()).unwrap()
}

pub(crate) fn letter(state: State) -> char {
    match state {
        State::Unknown => 'U',
        State::Available { .. } => 'A',
        State::Probing => 'P',
        State::Ejected { .. } => 'E',
        State::Draining { .. } => 'D',
        State::Vanished { .. } => 'V',
    }
}

fn clusters_json(name: &str, hosts: &[Host]) -> String {
    let hosts = hosts.iter().map(|(number, health)| {
        format!(
            r#"{{"address": {{"socket_address": {{"address": "10.0.0.{number}", "port_value": 80}}}}, "health_status": {{{health}}}, "weight": 1}}"#
        )
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    format!(r#"{{"cluster_statuses": [{{"name": "{name}", "host_statuses": [{hosts}]}}]}}"#)
}

/// Is a feed's answer.
pub(crate) fn feed_json(cluster: &str, addresses: impl IntoIterator<Item = String>) -> Vec<u8> {
    let endpoints = addresses
        .into_iter()
        .map(|address| format!(r#"{{"address": "{address}"}}"#));
    let endpoints = endpoints.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"version": 1, "clusters": [{{"name": "{cluster}", "endpoints": [{endpoints}]}}]}}"#
    )
    .into_bytes()
}
