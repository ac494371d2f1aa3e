//! Which rule holds for a cluster.

use alloc::vec::Vec;
use core::{num::NonZeroU32, time::Duration};

use super::config::Balance;
use crate::{
    clusters::{Finder, ForClusters, Selector},
    panic_mode,
    units::Ppm,
};

/// Is a rule: the clusters it holds for, and how requests to them are routed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Are the clusters.
    pub selector: Selector,
    /// Is how many endpoints a list names, 1 to 8.
    pub attempts: usize,
    /// Is how long a failure is recent; zero: never.
    pub recent_failure: Duration,
    /// Says how requests are balanced.
    pub balance: Balance,
    /// Says when too few are available.
    pub panic: panic_mode::Rule,
    /// Is how many requests an endpoint serves well at a time; `None`: not known.
    pub concurrency: Option<NonZeroU32>,
    /// Is the share of all requests that this gateway has, above 0.
    pub gateway_share: Ppm,
}

impl ForClusters for Rule {
    fn selector(&self) -> &Selector {
        &self.selector
    }
}

/// Finds rules.
#[derive(Clone, Debug)]
pub struct Rules {
    finder: Finder,
    rules: Vec<Rule>,
}

impl Rules {
    /// Prepares the rules of a configuration.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        Self {
            finder: Finder::new(rules),
            rules: rules.to_vec(),
        }
    }

    /// Lists the rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Is the rule of the cluster with this name, and its place; `None` leaves its requests alone.
    #[must_use]
    pub fn find(&self, cluster: &[u8]) -> Option<(usize, &Rule)> {
        let place = self.finder.find(cluster)?;
        self.rules.get(place).map(|rule| (place, rule))
    }
}
