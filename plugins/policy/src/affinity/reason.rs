//! The reasons of decisions, and their names in metrics, logs and headers.

use super::cookie::OpenError;

/// Makes an enum of reasons with their names in metrics, logs and headers.
macro_rules! reasons {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Lists all of them, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Is the name in metrics, logs and headers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Is the position in [`Self::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Says why a request was pinned or was not.
    RequestReason {
        /// The host did not do what it was asked: the request went on unpinned.
        HostError = "host_error",
        /// The request has no key: none there, an empty one, or one that is too long.
        KeyAbsent = "key_absent",
        /// Nobody is available for the request's key.
        KeyNoEndpoint = "key_no_endpoint",
        /// There is no picture of the endpoints to look the request's key up in.
        KeyNoPicture = "key_no_picture",
        /// The table to look the request's key up in is not built yet.
        KeyNoTable = "key_no_table",
        /// The request's key named the endpoint.
        Keyed = "keyed",
        /// The endpoint of the request's key is not available: the key's successor.
        KeyedSuccessor = "keyed_successor",
        /// There was no cookie.
        NewSession = "new_session",
        /// There was no cookie: the client's address named the endpoint.
        NewSessionByAddress = "new_session_by_address",
        /// There was no cookie: some member takes nothing new, and one that does was named by chance.
        NewSessionByPicture = "new_session_by_picture",
        /// The route has no cluster.
        NoCluster = "no_cluster",
        /// A valid cookie named the endpoint.
        Pinned = "pinned",
        /// The session's endpoint drains and may keep it until then.
        PinnedDraining = "pinned_draining",
        /// The session's endpoint drains: served there once more, then by its successor.
        PinnedHandOver = "pinned_hand_over",
        /// A valid cookie named the endpoint; no picture of the endpoints came yet.
        PinnedNoPicture = "pinned_no_picture",
        /// The session's endpoint is not available, and nobody else is.
        PinnedNoSuccessor = "pinned_no_successor",
        /// A valid cookie named the endpoint; the picture of the endpoints is too old to go by.
        PinnedStalePicture = "pinned_stale_picture",
        /// The cookie is younger than the picture, which does not have its endpoint yet.
        PinnedUnlisted = "pinned_unlisted",
        /// There was more than one value under our name.
        RefusedDuplicate = "refused_duplicate",
        /// The session is as old as its TTL.
        RefusedExpired = "refused_expired",
        /// The session was not seen for the idle timeout.
        RefusedIdle = "refused_idle",
        /// The value is not a session cookie.
        RefusedMalformed = "refused_malformed",
        /// The session begins in the future.
        RefusedNotYetValid = "refused_not_yet_valid",
        /// Another process than the session's is behind its endpoint's address.
        RefusedOtherInstance = "refused_other_instance",
        /// The session's endpoint was gone in between: who has its address now is another one.
        RefusedReusedAddress = "refused_reused_address",
        /// The value, or all cookies together, are too long.
        RefusedTooLong = "refused_too_long",
        /// The value was not sealed by us for this cluster, or was changed.
        RefusedUnauthentic = "refused_unauthentic",
        /// The value was sealed by a key that is not known.
        RefusedUnknownKey = "refused_unknown_key",
        /// The value has another version.
        RefusedVersion = "refused_version",
        /// The session's endpoint drains: its successor.
        SuccessorDraining = "successor_draining",
        /// The session's endpoint is ejected: its successor.
        SuccessorEjected = "successor_ejected",
        /// The session's endpoint left its cluster: its successor.
        SuccessorGone = "successor_gone",
        /// The configuration does not list the cluster.
        UnlistedCluster = "unlisted_cluster",
    }
}

reasons! {
    /// Says why a response carries a cookie or does not.
    ResponseReason {
        /// The session's endpoint served for the last time: the cookie names the successor.
        HandedOver = "handed_over",
        /// The host did not do what it was asked: the response went on as it was.
        HostError = "host_error",
        /// A session began: it is pinned to the endpoint that served.
        Issued = "issued",
        /// The session's endpoint served.
        Kept = "kept",
        /// The endpoint that served has no address with a port: nothing to pin to.
        NotIssuedAddress = "not_issued_address",
        /// The response is a failure (5xx): no session begins with one.
        NotIssuedError = "not_issued_error",
        /// No endpoint served: the proxy answered itself.
        NotIssuedLocalReply = "not_issued_local_reply",
        /// Another endpoint served, and the session moved to it.
        RePinned = "re_pinned",
        /// The session's endpoint served, and the cookie now says so, or who it is.
        Refreshed = "refreshed",
        /// Another endpoint served; the cookie stays.
        ServedElsewhere = "served_elsewhere",
    }
}

impl From<OpenError> for RequestReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Malformed => Self::RefusedMalformed,
            OpenError::TooLong => Self::RefusedTooLong,
            OpenError::Unauthentic => Self::RefusedUnauthentic,
            OpenError::UnknownKey => Self::RefusedUnknownKey,
            OpenError::Version => Self::RefusedVersion,
        }
    }
}
