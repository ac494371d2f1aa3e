//! Reads the HTTP feed: who the endpoints are, from a controller that knows better than Envoy.
//!
//! Why: Envoy's admin costs its main thread 245 ms for 10 000 endpoints, and on some gateways it
//! is not reachable at all. A controller that watches EndpointSlices can serve this instead.
//! Model: one JSON object, complete every time, in the order of its writer's choice:
//!
//! ```json
//! {
//!   "version": 1,
//!   "clusters": [
//!     {
//!       "name": "echo",
//!       "endpoints": [
//!         {"address": "10.0.0.1:8080", "weight": 2, "zone": "a", "health": "draining", "priority": 0},
//!         {"address": "[2001:db8::1]:8080"}
//!       ]
//!     }
//!   ]
//! }
//! ```
//!
//! | field | meaning |
//! | --- | --- |
//! | `version` | must be there and 1; a change of meaning raises it, an addition does not |
//! | `clusters` | must be there; at most 1024, each name once |
//! | `name` | the name of Envoy's cluster, 1 to 1024 bytes |
//! | `endpoints` | must be there, also where it is empty; at most 10 000 in all clusters together |
//! | `address` | must be there: `IP:PORT`, each once per cluster; port 1 to 65 535 |
//! | `weight` | 1 to 4 294 967 295; 1 where it is absent |
//! | `zone` | at most 128 bytes, at most 64 different ones per cluster; none where it is absent |
//! | `health` | `healthy` (also where it is absent), `degraded`, `draining` or `unhealthy` |
//! | `priority` | 0 to 4 294 967 295; 0 where it is absent |
//!
//! An EndpointSlice's `serving && !terminating` is `healthy`, `serving && terminating` is
//! `draining`, `!serving` is `unhealthy`; its `zone` is `zone`. Unknown fields are stepped over;
//! `null` is like an absent field.
//! Limits: the first fault refuses the whole, with its place: see [`Why`](super::Why).

use alloc::{string::String, vec::Vec};
use core::{net::SocketAddr, num::NonZeroU32};

use super::{
    listing::{Discovered, Listed, Listing, Listings},
    parser::{Format, Parser, Progress},
    refusal::Why,
    walk::{Event, Node, Shape},
};

/// Is the version of the feed that is understood.
pub const FEED_VERSION: u64 = 1;

/// Reads one answer of a feed, in slices.
///
/// Cost per call: O(`budget_bytes`), and O(log n) per endpoint. It keeps about 100 bytes per
/// endpoint and nothing of the answer.
#[derive(Debug)]
pub struct FeedParser(Parser<Feed>);

impl Default for FeedParser {
    fn default() -> Self {
        Self::new()
    }
}

impl FeedParser {
    /// Starts with the first byte of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self(Parser::new())
    }

    /// Reads on in `bytes`, which is the whole answer and the same in every call.
    ///
    /// It reads `budget_bytes` (0 is 1) and finishes the token that it is in, at most
    /// [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES) more. The clusters come ordered by name.
    pub fn advance(&mut self, bytes: &[u8], budget_bytes: usize) -> Progress<Vec<Listing>> {
        self.0.advance(bytes, budget_bytes)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Root,
    Version,
    Clusters,
    Cluster,
    Name,
    Endpoints,
    Endpoint,
    Address,
    Weight,
    Zone,
    Health,
    Priority,
}

impl Node for Place {
    const ROOT: Self = Self::Root;

    fn field(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Self::Root, "version") => Self::Version,
            (Self::Root, "clusters") => Self::Clusters,
            (Self::Cluster, "name") => Self::Name,
            (Self::Cluster, "endpoints") => Self::Endpoints,
            (Self::Endpoint, "address") => Self::Address,
            (Self::Endpoint, "weight") => Self::Weight,
            (Self::Endpoint, "zone") => Self::Zone,
            (Self::Endpoint, "health") => Self::Health,
            (Self::Endpoint, "priority") => Self::Priority,
            _ => return None,
        })
    }

    fn item(self) -> Option<Self> {
        match self {
            Self::Clusters => Some(Self::Cluster),
            Self::Endpoints => Some(Self::Endpoint),
            _ => None,
        }
    }

    fn shape(self) -> Shape {
        match self {
            Self::Clusters | Self::Endpoints => Shape::Array,
            Self::Root | Self::Cluster | Self::Endpoint => Shape::Object,
            Self::Name | Self::Address | Self::Zone | Self::Health => Shape::Text,
            Self::Version | Self::Weight | Self::Priority => Shape::Number,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Root => "the feed",
            Self::Version => "version",
            Self::Clusters => "clusters",
            Self::Cluster => "a cluster",
            Self::Name => "name",
            Self::Endpoints => "endpoints",
            Self::Endpoint => "an endpoint",
            Self::Address => "address",
            Self::Weight => "weight",
            Self::Zone => "zone",
            Self::Health => "health",
            Self::Priority => "priority",
        }
    }

    fn index(self) -> u32 {
        self as u32
    }
}

/// Is the endpoint that is being read.
#[derive(Debug, Default)]
struct Draft {
    address: Option<SocketAddr>,
    zone: String,
    listed: Listed,
}

#[derive(Debug, Default)]
struct Feed {
    listings: Listings,
    has_version: bool,
    has_clusters: bool,
    has_endpoints: bool,
    draft: Option<Draft>,
}

impl Feed {
    fn end_endpoint(&mut self) -> Result<(), Why> {
        let draft = self.draft.as_ref();
        let Some((draft, address)) = draft.and_then(|draft| Some((draft, draft.address?))) else {
            return Err(Why::Missing { field: "address" });
        };
        let listing = &mut self.listings.current;
        listing.add(address, &draft.zone, draft.listed)?;
        self.draft = None;
        Ok(())
    }

    fn on_number(&mut self, place: Place, value: u64) -> Result<(), Why> {
        let out_of_range = Why::OutOfRange {
            field: place.name(),
        };
        let narrow = u32::try_from(value).map_err(|_| out_of_range);
        match (place, &mut self.draft) {
            (Place::Version, _) => {
                if value != FEED_VERSION {
                    return Err(Why::UnknownVersion { found: value });
                }
                self.has_version = true;
            }
            (Place::Weight, Some(draft)) => {
                draft.listed.weight = NonZeroU32::new(narrow?).ok_or(out_of_range)?;
            }
            (Place::Priority, Some(draft)) => draft.listed.priority = narrow?,
            _ => {}
        }
        Ok(())
    }

    fn on_text(&mut self, place: Place, text: &str) -> Result<(), Why> {
        match (place, &mut self.draft) {
            (Place::Name, _) => return self.listings.name(text),
            (Place::Address, Some(draft)) => {
                let address = parse_address(text);
                draft.address = Some(address.ok_or(Why::BadAddress)?);
            }
            (Place::Zone, Some(draft)) => draft.zone = String::from(text),
            (Place::Health, Some(draft)) => {
                draft.listed.health.discovered = parse_health(text).ok_or(Why::UnknownHealth)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Format for Feed {
    type Node = Place;

    fn on_event(&mut self, event: Event<'_, Place>) -> Result<(), Why> {
        match event {
            Event::Begin(Place::Clusters) => {
                self.has_clusters = true;
                Ok(())
            }
            Event::Begin(Place::Cluster) => {
                self.has_endpoints = false;
                self.listings.begin_cluster()
            }
            Event::Begin(Place::Endpoints) => {
                self.has_endpoints = true;
                Ok(())
            }
            Event::End(Place::Cluster) if !self.has_endpoints => {
                Err(Why::Missing { field: "endpoints" })
            }
            Event::End(Place::Cluster) => self.listings.end_cluster(),
            Event::Begin(Place::Endpoint) => {
                self.draft = Some(Draft::default());
                self.listings.begin_endpoint()
            }
            Event::End(Place::Endpoint) => self.end_endpoint(),
            Event::Number(place, value) => self.on_number(place, value),
            Event::Text(place, text) => self.on_text(place, &text),
            Event::Begin(_) | Event::End(_) | Event::Flag(..) => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Why> {
        match (self.has_version, self.has_clusters) {
            (false, _) => Err(Why::Missing { field: "version" }),
            (true, false) => Err(Why::Missing { field: "clusters" }),
            (true, true) => Ok(()),
        }
    }

    fn endpoint(&self) -> Option<usize> {
        self.draft.as_ref()?;
        self.listings.begun.checked_sub(1)
    }

    fn listings(&mut self) -> &mut Listings {
        &mut self.listings
    }
}

/// Reads `IP:PORT` with a port that is not 0.
pub(super) fn parse_address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    (address.port() != 0).then_some(address)
}

fn parse_health(text: &str) -> Option<Discovered> {
    Some(match text {
        "degraded" => Discovered::Degraded,
        "draining" => Discovered::Draining,
        "healthy" => Discovered::Healthy,
        "unhealthy" => Discovered::Unhealthy,
        _ => return None,
    })
}
