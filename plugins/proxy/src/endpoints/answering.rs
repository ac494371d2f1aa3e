//! Shows the picture to an operator: an answer of our own on one path.

use tidegate_policy::endpoints::{Status, StatusQuery};

use super::{Endpoints, leading};
use crate::{
    clock,
    error::HostError,
    headers::Pairs,
    response::{self, LocalResponse},
};

/// Is the answer's type.
const JSON: &[u8] = b"application/json";

impl Endpoints {
    /// Says whether there is a status to ask for, so that nobody reads headers for nothing.
    #[must_use]
    pub fn shows_status(&self) -> bool {
        self.config.status_path().is_some()
    }

    /// Answers a request for the status, and says whether it did: the request then goes no further.
    /// Without a `status_path` it never does. It makes no host call for other requests.
    ///
    /// # Errors
    /// The host said no: the request goes on.
    pub fn answer_status(&self, request: &Pairs) -> Result<bool, HostError> {
        let Some(status_path) = self.config.status_path() else {
            return Ok(false);
        };
        let path = request.values(":path").next().unwrap_or_default();
        let Some(query) = StatusQuery::parse(path, status_path) else {
            return Ok(false);
        };
        let method = request.values(":method").next().unwrap_or_default();
        if !matches!(method, b"GET" | b"HEAD") {
            response::send(LocalResponse {
                status: 405,
                details: "tidegate_endpoints_status_method",
                headers: &[(b"allow", b"GET, HEAD")],
                body: b"",
                grpc_status: None,
            })?;
            return Ok(true);
        }
        let now = clock::wall_time()?;
        let mut clusters = leading::names(&self.config);
        clusters.extend(self.seen.met());
        clusters.sort_unstable();
        clusters.dedup();
        let status = Status {
            config: &self.config,
            follower: &self.follower,
            term: self.leader.term(now),
        };
        let mut body = String::new();
        status.write(&mut body, &query, clusters, now);
        response::send(LocalResponse {
            status: 200,
            details: "tidegate_endpoints_status",
            headers: &[(b"content-type", JSON), (b"cache-control", b"no-store")],
            // A proxy leaves it out of the answer to a HEAD.
            body: body.as_bytes(),
            grpc_status: None,
        })?;
        Ok(true)
    }
}
