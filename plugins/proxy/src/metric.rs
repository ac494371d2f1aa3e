//! Counters, gauges and histograms.
//!
//! A host gives a new id for each definition: define once, while the plugin is being configured,
//! and keep what you get. The ABI has no labels: they are part of the name and become tags by the
//! proxy's `stats_tags`.

use crate::{abi, error::HostError};

/// Is a number that only grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counter(u32);

/// Is a number that is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gauge(u32);

/// Is a distribution.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Histogram(u32);

impl Counter {
    /// Defines a counter.
    ///
    /// # Errors
    /// The host said no.
    pub fn define(name: &str) -> Result<Self, HostError> {
        define(0, name).map(Self)
    }

    /// Adds `delta`; zero is nothing, which a host would refuse.
    ///
    /// # Errors
    /// The host said no.
    pub fn increment(self, delta: u32) -> Result<(), HostError> {
        if delta == 0 {
            return Ok(());
        }
        abi::increment_metric(self.0, i64::from(delta))
            .map_err(|status| HostError::from_status("proxy_increment_metric", status, &[]))
    }

    /// Reads the sum over all VMs.
    ///
    /// # Errors
    /// The host said no.
    pub fn value(self) -> Result<u64, HostError> {
        read(self.0)
    }
}

impl Gauge {
    /// Defines a gauge.
    ///
    /// # Errors
    /// The host said no.
    pub fn define(name: &str) -> Result<Self, HostError> {
        define(1, name).map(Self)
    }

    /// Sets the number, for all VMs: one of them should own it.
    ///
    /// # Errors
    /// The host said no.
    pub fn set(self, value: u64) -> Result<(), HostError> {
        record(self.0, value)
    }

    /// Reads the number.
    ///
    /// # Errors
    /// The host said no.
    pub fn value(self) -> Result<u64, HostError> {
        read(self.0)
    }
}

impl Histogram {
    /// Defines a histogram.
    ///
    /// # Errors
    /// The host said no.
    pub fn define(name: &str) -> Result<Self, HostError> {
        define(2, name).map(Self)
    }

    /// Records a value, in the unit that the name states.
    ///
    /// # Errors
    /// The host said no.
    pub fn record(self, value: u64) -> Result<(), HostError> {
        record(self.0, value)
    }
}

fn define(kind: u32, name: &str) -> Result<u32, HostError> {
    abi::define_metric(kind, name.as_bytes())
        .map_err(|status| HostError::from_status("proxy_define_metric", status, &[]))
}

fn record(metric: u32, value: u64) -> Result<(), HostError> {
    abi::record_metric(metric, value)
        .map_err(|status| HostError::from_status("proxy_record_metric", status, &[]))
}

fn read(metric: u32) -> Result<u64, HostError> {
    abi::metric(metric).map_err(|status| HostError::from_status("proxy_get_metric", status, &[]))
}
