//! Says why an answer was refused, and where.

use core::fmt;

/// Is the reason and the place of a refusal; nothing of the answer is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Refused {
    /// Is the reason.
    pub why: Why,
    /// Is how many bytes of the answer were read before: the place.
    pub at_byte: usize,
    /// Is the endpoint's position within its cluster, from 0; `None` outside of endpoints.
    pub at_endpoint: Option<usize>,
}

impl Refused {
    pub(super) const fn new(why: Why, at_byte: usize) -> Self {
        Self {
            why,
            at_byte,
            at_endpoint: None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at byte {}", self.why, self.at_byte)?;
        match self.at_endpoint {
            Some(index) => write!(formatter, ", endpoint {index}"),
            None => Ok(()),
        }
    }
}

/// Is the reason of a refusal. Fields are named as in the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// A feed's address is not `IP:PORT` with a port above 0.
    #[error("address is not an IP and a port")]
    BadAddress,
    /// A feed lists an address twice in a cluster.
    #[error("the same address is listed twice")]
    EndpointTwice,
    /// A cluster is there twice.
    #[error("the same cluster is listed twice")]
    ClusterTwice,
    /// A known field is there twice in an object.
    #[error("`{field}` is there twice")]
    FieldTwice {
        /// Is the field.
        field: &'static str,
    },
    /// A field without which an object means nothing is absent.
    #[error("`{field}` is missing")]
    Missing {
        /// Is the field.
        field: &'static str,
    },
    /// Text that is looked at is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A number is outside of its field's range.
    #[error("`{field}` is out of range")]
    OutOfRange {
        /// Is the field.
        field: &'static str,
    },
    /// The parser has answered already.
    #[error("already answered")]
    Spent,
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Syntax(&'static str),
    /// A text or a number is longer than `MAX_TOKEN_BYTES`.
    #[error("a text is too long")]
    TokenTooLong,
    /// A text is longer than its field may be.
    #[error("`{field}` is too long")]
    TooLong {
        /// Is the field.
        field: &'static str,
    },
    /// Brackets nest deeper than `MAX_DEPTH`.
    #[error("brackets are nested too deeply")]
    TooDeep,
    /// The answer is longer than `MAX_ANSWER_BYTES`.
    #[error("the answer is too long")]
    TooManyBytes,
    /// The answer has more clusters than `MAX_CLUSTERS`.
    #[error("too many clusters")]
    TooManyClusters,
    /// The answer has more endpoints than `MAX_ENDPOINTS`, all clusters together.
    #[error("too many endpoints")]
    TooManyEndpoints,
    /// A feed names more zones than `MAX_ZONES`.
    #[error("too many zones")]
    TooManyZones,
    /// The answer ends too early.
    #[error("truncated")]
    Truncated,
    /// A feed says a health that this version does not know.
    #[error("`health` is none of healthy, degraded, draining, unhealthy")]
    UnknownHealth,
    /// A feed has another version.
    #[error("version {found} of the feed is not known, only 1 is")]
    UnknownVersion {
        /// Is what it says.
        found: u64,
    },
    /// A field has another type.
    #[error("`{field}` must be {wanted}")]
    WrongType {
        /// Is the field.
        field: &'static str,
        /// Is what it must be.
        wanted: &'static str,
    },
}
