//! The first line of a recording.

use serde::{Deserialize, Serialize};

use super::error::RecordingProblem;

/// The name in the first line of every recording of ours.
pub const FORMAT_NAME: &str = "tidegate-recording";
/// The major version that is read and written. A reader refuses a newer one.
pub const FORMAT_MAJOR: u32 = 1;
/// The minor version that is written. Later ones add fields that a reader of this major may not know.
pub const FORMAT_MINOR: u32 = 1;

/// Where a recording comes from and what it knows of the clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the header of a recording")]
pub struct Header {
    /// Name and version of the format.
    pub format: Format,
    /// What was recorded: `envoy-tap-buffered`, `envoy-tap-streamed`, `envoy-tap`, `har`, `envoy-access-log`, `goreplay`,
    /// or anything else.
    pub source: String,
    /// What wrote the file: name and version.
    pub producer: String,
    /// Version of the Envoy that was recorded.
    #[serde(default)]
    pub envoy: Option<String>,
    /// When the recording begins, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub recorded_at_ns: Option<u64>,
    /// The clusters with the endpoints that they had.
    #[serde(default)]
    pub clusters: Vec<Cluster>,
    /// What was taken out of it: `cookies`, `authorization`, `query`, `bodies`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

/// Name and version of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "name and version of the format")]
pub struct Format {
    /// Always [`FORMAT_NAME`].
    pub name: String,
    /// Changes when an old reader would misunderstand.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            name: FORMAT_NAME.to_owned(),
            major: FORMAT_MAJOR,
            minor: FORMAT_MINOR,
        }
    }
}

/// A cluster and its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a cluster with its name and endpoints"
)]
pub struct Cluster {
    /// Its name in Envoy.
    pub name: String,
    /// Addresses as `ip:port`.
    pub endpoints: Vec<String>,
}

impl Header {
    /// Checks the name and version before anything else is looked at: of a newer format nothing else is known.
    pub(super) fn check(line: &[u8]) -> Result<(), RecordingProblem> {
        #[derive(Deserialize)]
        struct Versioned {
            format: Format,
        }
        let Ok(Versioned { format }) = serde_json::from_slice(line) else {
            // Whatever is wrong is found again, with its place, when the header is read in full.
            return Ok(());
        };
        if format.name != FORMAT_NAME {
            return Err(RecordingProblem::Shape {
                path: "$.format.name".to_owned(),
                message: format!("expected `{FORMAT_NAME}`, got `{}`", format.name),
            });
        }
        if format.major != FORMAT_MAJOR {
            return Err(RecordingProblem::Version {
                major: format.major,
                minor: format.minor,
            });
        }
        Ok(())
    }
}
