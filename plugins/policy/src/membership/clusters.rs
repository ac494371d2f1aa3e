//! Reads what Envoy's admin answers to `/clusters?format=json`.
//!
//! Model: `cluster_statuses[]{name, observability_name, host_statuses[]{address.socket_address
//! {address, port_value}, health_status{…}, weight, priority, locality.zone}}`; fields come in any
//! order. As in all JSON of protobuf a field that has its default is absent: a weight of 0 does not
//! occur and is read as 1, an absent health is a good one, no `host_statuses` is no endpoint.
//! Limits: see [`Why`](super::Why). An endpoint that no header can name (Unix socket, internal
//! address) is counted and left out, a zone beyond [`MAX_ZONES`](super::MAX_ZONES) is dropped.
//! Source: Envoy 1.40.0's answers, and `envoy/admin/v3/clusters.proto`.

use alloc::{string::String, vec::Vec};
use core::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use super::{
    listing::{Discovered, Health, Listed, Listing, Listings},
    parser::{Format, Parser, Progress},
    refusal::Why,
    walk::{Event, Node, Shape},
};

/// Reads one answer to `/clusters?format=json`, in slices.
///
/// Cost per call: O(`budget_bytes`), and O(log n) per endpoint. It keeps about 100 bytes per
/// endpoint and nothing of the answer.
#[derive(Debug)]
pub struct ClustersParser(Parser<Admin>);

impl Default for ClustersParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ClustersParser {
    /// Starts with the first byte of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self(Parser::new())
    }

    /// Reads on in `bytes`, which is the whole answer and the same in every call.
    ///
    /// It reads `budget_bytes` (0 is 1) and finishes the token that it is in, at most
    /// [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES) more. The clusters come ordered by name; none is
    /// what Envoy answers when no cluster has the name that was asked for.
    pub fn advance(&mut self, bytes: &[u8], budget_bytes: usize) -> Progress<Vec<Listing>> {
        self.0.advance(bytes, budget_bytes)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Root,
    Clusters,
    Cluster,
    Name,
    ObservabilityName,
    Endpoints,
    Endpoint,
    Address,
    SocketAddress,
    Ip,
    Port,
    Health,
    Discovered,
    FailedActive,
    FailedOutlier,
    FailedDegraded,
    PendingRemoval,
    PendingActive,
    Excluded,
    ActiveTimeout,
    Weight,
    Priority,
    Locality,
    Zone,
}

impl Node for Place {
    const ROOT: Self = Self::Root;

    fn field(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Self::Root, "cluster_statuses") => Self::Clusters,
            (Self::Cluster, "name") => Self::Name,
            (Self::Cluster, "observability_name") => Self::ObservabilityName,
            (Self::Cluster, "host_statuses") => Self::Endpoints,
            (Self::Endpoint, "address") => Self::Address,
            (Self::Endpoint, "health_status") => Self::Health,
            (Self::Endpoint, "weight") => Self::Weight,
            (Self::Endpoint, "priority") => Self::Priority,
            (Self::Endpoint, "locality") => Self::Locality,
            (Self::Address, "socket_address") => Self::SocketAddress,
            (Self::SocketAddress, "address") => Self::Ip,
            (Self::SocketAddress, "port_value") => Self::Port,
            (Self::Health, "eds_health_status") => Self::Discovered,
            (Self::Health, "failed_active_health_check") => Self::FailedActive,
            (Self::Health, "failed_outlier_check") => Self::FailedOutlier,
            (Self::Health, "failed_active_degraded_check") => Self::FailedDegraded,
            (Self::Health, "pending_dynamic_removal") => Self::PendingRemoval,
            (Self::Health, "pending_active_hc") => Self::PendingActive,
            (Self::Health, "excluded_via_immediate_hc_fail") => Self::Excluded,
            (Self::Health, "active_hc_timeout") => Self::ActiveTimeout,
            (Self::Locality, "zone") => Self::Zone,
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
            Self::Root
            | Self::Cluster
            | Self::Endpoint
            | Self::Address
            | Self::SocketAddress
            | Self::Health
            | Self::Locality => Shape::Object,
            Self::Name | Self::ObservabilityName | Self::Ip | Self::Discovered | Self::Zone => {
                Shape::Text
            }
            Self::Port | Self::Weight | Self::Priority => Shape::Number,
            Self::FailedActive
            | Self::FailedOutlier
            | Self::FailedDegraded
            | Self::PendingRemoval
            | Self::PendingActive
            | Self::Excluded
            | Self::ActiveTimeout => Shape::Flag,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Root => "the answer",
            Self::Clusters => "cluster_statuses",
            Self::Cluster => "a cluster",
            Self::Name => "name",
            Self::ObservabilityName => "observability_name",
            Self::Endpoints => "host_statuses",
            Self::Endpoint => "an endpoint",
            Self::Address => "address",
            Self::SocketAddress => "socket_address",
            Self::Ip => "socket_address.address",
            Self::Port => "port_value",
            Self::Health => "health_status",
            Self::Discovered => "eds_health_status",
            Self::FailedActive => "failed_active_health_check",
            Self::FailedOutlier => "failed_outlier_check",
            Self::FailedDegraded => "failed_active_degraded_check",
            Self::PendingRemoval => "pending_dynamic_removal",
            Self::PendingActive => "pending_active_hc",
            Self::Excluded => "excluded_via_immediate_hc_fail",
            Self::ActiveTimeout => "active_hc_timeout",
            Self::Weight => "weight",
            Self::Priority => "priority",
            Self::Locality => "locality",
            Self::Zone => "zone",
        }
    }

    fn index(self) -> u32 {
        self as u32
    }
}

/// Is the endpoint that is being read.
#[derive(Debug, Default)]
struct Draft {
    ip: Option<IpAddr>,
    port: u16,
    zone: String,
    listed: Listed,
}

#[derive(Debug, Default)]
struct Admin {
    listings: Listings,
    draft: Option<Draft>,
}

impl Admin {
    fn end_endpoint(&mut self) -> Result<(), Why> {
        let Some(draft) = self.draft.take() else {
            return Ok(());
        };
        let listing = &mut self.listings.current;
        let (Some(ip), 1..) = (draft.ip, draft.port) else {
            listing.unusable = listing.unusable.saturating_add(1);
            return Ok(());
        };
        let address = SocketAddr::new(ip, draft.port);
        let outcome = match listing.add(address, &draft.zone, draft.listed) {
            Err(Why::TooManyZones | Why::TooLong { .. }) => listing.add(address, "", draft.listed),
            outcome => outcome,
        };
        match outcome {
            Err(Why::EndpointTwice) => {
                listing.repeated = listing.repeated.saturating_add(1);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn on_flag(health: &mut Health, place: Place, value: bool) {
        match place {
            Place::FailedActive => health.failed_active_health_check = value,
            Place::FailedOutlier => health.failed_outlier_check = value,
            Place::FailedDegraded => health.failed_active_degraded_check = value,
            Place::PendingRemoval => health.pending_dynamic_removal = value,
            Place::PendingActive => health.pending_active_hc = value,
            Place::Excluded => health.excluded_via_immediate_hc_fail = value,
            Place::ActiveTimeout => health.active_hc_timeout = value,
            _ => {}
        }
    }

    fn on_number(draft: &mut Draft, place: Place, value: u64) -> Result<(), Why> {
        let out_of_range = Why::OutOfRange {
            field: place.name(),
        };
        let narrow = u32::try_from(value).map_err(|_| out_of_range)?;
        match place {
            Place::Port => draft.port = u16::try_from(value).map_err(|_| out_of_range)?,
            Place::Weight => {
                draft.listed.weight = NonZeroU32::new(narrow).unwrap_or(NonZeroU32::MIN);
            }
            Place::Priority => draft.listed.priority = narrow,
            _ => {}
        }
        Ok(())
    }

    fn on_text(&mut self, place: Place, text: &str) -> Result<(), Why> {
        match (place, &mut self.draft) {
            (Place::Name, _) => return self.listings.name(text),
            (Place::ObservabilityName, _) => {
                if text.len() > super::listing::MAX_NAME_BYTES {
                    return Err(Why::TooLong {
                        field: place.name(),
                    });
                }
                self.listings.current.observability_name = String::from(text);
            }
            (Place::Ip, Some(draft)) => draft.ip = text.parse().ok(),
            (Place::Zone, Some(draft)) => draft.zone = String::from(text),
            (Place::Discovered, Some(draft)) => {
                draft.listed.health.discovered = match text {
                    "DEGRADED" => Discovered::Degraded,
                    "DRAINING" => Discovered::Draining,
                    "TIMEOUT" | "UNHEALTHY" => Discovered::Unhealthy,
                    // A word that a later Envoy adds must not take endpoints out.
                    _ => Discovered::Healthy,
                };
            }
            _ => {}
        }
        Ok(())
    }
}

impl Format for Admin {
    type Node = Place;

    fn on_event(&mut self, event: Event<'_, Place>) -> Result<(), Why> {
        match (event, &mut self.draft) {
            (Event::Begin(Place::Cluster), _) => self.listings.begin_cluster(),
            (Event::End(Place::Cluster), _) => self.listings.end_cluster(),
            (Event::Begin(Place::Endpoint), draft) => {
                *draft = Some(Draft::default());
                self.listings.begin_endpoint()
            }
            (Event::End(Place::Endpoint), _) => self.end_endpoint(),
            (Event::Flag(place, value), Some(draft)) => {
                Self::on_flag(&mut draft.listed.health, place, value);
                Ok(())
            }
            (Event::Number(place, value), Some(draft)) => Self::on_number(draft, place, value),
            (Event::Text(place, text), _) => self.on_text(place, &text),
            (Event::Begin(_) | Event::End(_) | Event::Flag(..) | Event::Number(..), _) => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Why> {
        Ok(())
    }

    fn endpoint(&self) -> Option<usize> {
        self.draft.as_ref()?;
        self.listings.begun.checked_sub(1)
    }

    fn listings(&mut self) -> &mut Listings {
        &mut self.listings
    }
}
