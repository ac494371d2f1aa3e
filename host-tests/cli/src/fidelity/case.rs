//! What a case file says.

use serde::Deserialize;

/// One scenario: plugins, the traffic that meets them, and what is known to differ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// What the case is about, in one sentence.
    pub what: String,
    /// What the client speaks.
    #[serde(default)]
    pub protocol: Protocol,
    /// What the upstream speaks.
    #[serde(default)]
    pub upstream_protocol: Protocol,
    /// The probes, in the order of the filter chain.
    pub plugins: Vec<Plugin>,
    /// Clusters besides `upstream`, for call-outs and routes.
    #[serde(default)]
    pub clusters: Vec<Cluster>,
    /// Routes in front of the one that sends everything to `upstream`.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// When the router tries again.
    pub retry: Option<Retry>,
    /// The route's time-out in milliseconds; without one the router waits for ever.
    #[serde(default)]
    pub timeout_ms: u64,
    /// Whether a WebSocket may be opened.
    #[serde(default)]
    pub upgrade: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Lines that are known to differ, each with the row of the table that says why.
    #[serde(default)]
    pub differences: Vec<Difference>,
}

impl Case {
    /// Returns the name that a cluster of the case has in the proxy, where all cases run together.
    #[must_use]
    pub fn cluster_name(&self, cluster: &str) -> String {
        format!("{}.{cluster}", self.name)
    }

    /// Returns the VM ID of a plugin: without one of its own the case's name, so that cases share nothing.
    #[must_use]
    pub fn vm_id<'a>(&'a self, plugin: &'a Plugin) -> &'a str {
        plugin.vm_id.as_deref().unwrap_or(&self.name)
    }

    /// Returns the environment of a plugin's VM, in the order of the names.
    #[must_use]
    pub fn environment(&self, plugin: &Plugin) -> Vec<(String, String)> {
        let mut variables = vec![("PROBE_CASE".to_owned(), self.name.clone())];
        if !plugin.early_script.is_empty() {
            variables.push(("PROBE_SCRIPT".to_owned(), plugin.early_script.clone()));
        }
        let further = plugin.environment.iter().map(|text| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        });
        variables.extend(further);
        variables.sort();
        variables
    }
}

impl Plugin {
    /// Returns its root ID.
    #[must_use]
    pub fn root_id(&self) -> &str {
        self.root_id.as_deref().unwrap_or(&self.name)
    }
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS.
    Http2,
}

/// One probe in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Its name, which every line of its log has.
    #[serde(default = "first_plugin")]
    pub name: String,
    /// Where it runs.
    #[serde(default)]
    pub position: Position,
    /// What it calls when: the plugin's configuration.
    #[serde(default)]
    pub script: String,
    /// What it calls before any configuration can be read: in `initialize` and `malloc`.
    #[serde(default)]
    pub early_script: String,
    /// The VM's configuration: a script, too, for callbacks that come before the plugin's can be read.
    #[serde(default)]
    pub vm_script: String,
    /// Root ID; the plugin's name without this.
    pub root_id: Option<String>,
    /// VM ID; the case's name without this.
    pub vm_id: Option<String>,
    /// Further environment variables, as `NAME=value`.
    #[serde(default)]
    pub environment: Vec<String>,
    /// What becomes of traffic after a trap.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// Whether a pause on headers lets bodies go on to the filter.
    #[serde(default)]
    pub allow_on_headers_stop_iteration: bool,
}

fn first_plugin() -> String {
    "a".to_owned()
}

/// Where a probe runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// In the listener's filter chain.
    #[default]
    Listener,
    /// As a service on the main thread, without streams.
    Singleton,
    /// In the upstream filter chain of the cluster `upstream`.
    Upstream,
}

/// What becomes of traffic after a trap.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// 503, for good.
    #[default]
    FailClosed,
    /// The plugin is left out.
    FailOpen,
    /// 503, then a fresh VM.
    FailReload,
}

/// A cluster besides `upstream`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its name within the case.
    pub name: String,
    /// What its endpoint does.
    pub behaviour: Behaviour,
    /// What it answers, if it does.
    #[serde(default)]
    pub answer: Response,
}

/// What a cluster's endpoint does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Answers at once.
    Answers,
    /// There is no endpoint.
    Empty,
    /// Takes no connection.
    Refuses,
    /// Resets the connection when a request has come.
    Resets,
    /// Takes requests and never answers.
    Silent,
}

/// A route in front of the default one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The route's name.
    pub name: String,
    /// Prefix of the path.
    #[serde(default = "any_path")]
    pub prefix: String,
    /// A header that the request must have, as `name: value`.
    pub header: Option<String>,
    /// Where it leads.
    pub cluster: Option<String>,
    /// Status of an answer that the proxy gives itself.
    pub direct: Option<u16>,
}

fn any_path() -> String {
    "/".to_owned()
}

/// When the router tries again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Envoy's `retry_on`.
    pub on: String,
    /// How often, at most.
    pub attempts: u32,
}

/// Something that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// The client sends the head of a request, and its body if it is given here.
    Request(Request),
    /// The client sends a part of the body.
    Data(Data),
    /// The client ends the request with trailers.
    Trailers(Vec<Text>),
    /// Somebody waits until a line with this text was logged.
    Await(String),
    /// The upstream answers the request that came last.
    Respond(Response),
    /// The upstream sends a part of the body.
    RespondData(Data),
    /// The upstream ends its answer with trailers.
    RespondTrailers(Vec<Text>),
    /// A peer resets its connection.
    Reset(Peer),
    /// A peer closes its connection.
    Close(Peer),
    /// The client waits until it has read this as a part of the body.
    Read(Text),
    /// The client waits for the end of the answer, or of its connection.
    Receive,
}

/// Who is at an end of a connection with the proxy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// The client.
    Client,
    /// The endpoint of the cluster `upstream`.
    Upstream,
}

/// A request, whole or its beginning.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query.
    #[serde(default = "any_path")]
    pub path: String,
    /// Headers besides the host, as `name: value`.
    #[serde(default)]
    pub headers: Vec<Text>,
    /// What of the body is sent together with the head.
    #[serde(default)]
    pub body: Text,
    /// Whether the body is chunked; else its length is told. Chunks are HTTP/1.1's own.
    #[serde(default)]
    pub chunked: bool,
    /// Trailers that are sent at once.
    #[serde(default)]
    pub trailers: Vec<Text>,
    /// Whether the request ends here.
    #[serde(default = "yes")]
    pub end: bool,
}

fn get() -> String {
    "GET".to_owned()
}

const fn yes() -> bool {
    true
}

/// An answer, whole or its beginning.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The status.
    #[serde(default = "okay")]
    pub status: u16,
    /// Statuses of interim answers before it.
    #[serde(default)]
    pub interim: Vec<u16>,
    /// Headers as `name: value`.
    #[serde(default)]
    pub headers: Vec<Text>,
    /// What of the body is sent together with the head.
    #[serde(default)]
    pub body: Text,
    /// Whether the body is chunked; else its length is told. Chunks are HTTP/1.1's own.
    #[serde(default)]
    pub chunked: bool,
    /// Trailers that are sent at once.
    #[serde(default)]
    pub trailers: Vec<Text>,
    /// Whether the answer ends here.
    #[serde(default = "yes")]
    pub end: bool,
}

const fn okay() -> u16 {
    200
}

impl Default for Response {
    fn default() -> Self {
        Self {
            status: okay(),
            interim: Vec::new(),
            headers: Vec::new(),
            body: Text::default(),
            chunked: false,
            trailers: Vec::new(),
            end: true,
        }
    }
}

/// A part of a body.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The bytes.
    #[serde(default)]
    pub text: Text,
    /// Whether the body ends here.
    #[serde(default)]
    pub end: bool,
}

/// Bytes, written as text: each letter up to `ÿ` is a byte.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Text(Vec<u8>);

impl Text {
    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Splits a header at its colon.
    #[must_use]
    pub fn header(&self) -> (&[u8], &[u8]) {
        let colon = self.0.iter().skip(1).position(|byte| *byte == b':');
        let (name, value) = self.0.split_at(colon.map_or(self.0.len(), |at| at + 1));
        let value = value.strip_prefix(b":").unwrap_or_default();
        (name, value.strip_prefix(b" ").unwrap_or(value))
    }
}

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = text.chars().map(|letter| u8::try_from(u32::from(letter)));
        let bytes: Result<Vec<u8>, _> = bytes.collect();
        bytes
            .map(Self)
            .map_err(|_| format!("`{text}` has a letter that is no byte"))
    }
}

/// A line that is known to differ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Which row of the table of differences explains it.
    pub row: String,
    /// In whose log the line is.
    pub side: Side,
    /// The line; `*` stands for anything.
    pub line: String,
}

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The real proxy.
    Envoy,
    /// The runner.
    Runner,
}
