//! What one worker saw, in totals: a report that nobody read is made good by the next.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    address::{ADDRESS_BYTES, EndpointAddress},
    endpoint::Latency,
    fields::Fields,
    frame::{CHECKSUM_BYTES, Kind, PREFIX_BYTES, Records, SnapshotError},
};
use crate::units::WallTime;

/// Is how many endpoints one report holds: those with news. What finds no room waits for the next.
pub const MAX_REPORT_ENTRIES: usize = 1024;

/// Is the length of an endpoint in a report: address 19, generation 4, latency 4, its time 6,
/// first report 4, counters 12, rows 2.
pub const REPORT_ENTRY_BYTES: usize = 51;

/// Is the longest report in bytes; 64 slots of it take 3.4 MB of the proxy's memory.
pub const MAX_REPORT_BYTES: usize =
    HEADER_BYTES + MAX_REPORT_ENTRIES * REPORT_ENTRY_BYTES + CHECKSUM_BYTES;

/// Is what a report takes besides its endpoints, in bytes.
pub const REPORT_OVERHEAD_BYTES: usize = HEADER_BYTES + CHECKSUM_BYTES;

/// Is what prefix and header of a report take: configuration, cluster, worker, sequence, time.
const HEADER_BYTES: usize = PREFIX_BYTES + 40;

/// Is what makes bytes a report.
const REPORT: Kind = Kind {
    magic: *b"TgReport",
    header_bytes: HEADER_BYTES,
    record_bytes: REPORT_ENTRY_BYTES,
    max_record_bytes: 64,
    max_records: MAX_REPORT_ENTRIES,
};

/// Says whose report this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReportHeader {
    /// Is the digest of the configuration.
    pub configuration: u64,
    /// Is the digest of the cluster's name.
    pub cluster: u64,
    /// Tells the worker from all others; drawn when it started.
    pub worker: u64,
    /// Counts the worker's reports of this cluster, from 1.
    pub sequence: u64,
    /// Is when it was written.
    pub reported_at: WallTime,
}

/// Is what a worker saw of one endpoint. In-flight counts are not in it: a stale total makes all
/// workers prefer the same endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Observed {
    /// Is the generation of the endpoint that this was seen of; another one's is not merged. Zero:
    /// the worker did not know it, so that it is taken for the present one.
    pub generation: u32,
    /// Is the worker's own estimate; `None` where it took no sample yet.
    pub latency: Option<Latency>,
    /// Is the sequence of the first report that has this endpoint, its lowest 32 bits: an endpoint
    /// that was left out in between begins again.
    pub since: u32,
    /// Are the outcomes since that first report, those in it included.
    pub counts: Counts,
    /// Is how many gateway failures in a row this worker saw up to now, over all its reports.
    pub gateway_row: u8,
    /// Is the same for local-origin failures.
    pub local_row: u8,
}

/// Are outcomes of attempts. As totals they wrap: only differences mean anything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Are attempts that were answered without a gateway failure.
    pub successes: u32,
    /// Are attempts that were answered with 502, 503 or 504.
    pub gateway_failures: u32,
    /// Are attempts that the proxy gave up: connect failure, reset, timeout.
    pub local_failures: u32,
}

impl Counts {
    /// Is what came since `earlier`, where that was at most 2^32 − 1 of each.
    #[must_use]
    pub const fn wrapping_since(self, earlier: Self) -> Self {
        Self {
            successes: self.successes.wrapping_sub(earlier.successes),
            gateway_failures: self.gateway_failures.wrapping_sub(earlier.gateway_failures),
            local_failures: self.local_failures.wrapping_sub(earlier.local_failures),
        }
    }

    /// Is the total after some more.
    #[must_use]
    pub const fn wrapping_add(self, more: Self) -> Self {
        Self {
            successes: self.successes.wrapping_add(more.successes),
            gateway_failures: self.gateway_failures.wrapping_add(more.gateway_failures),
            local_failures: self.local_failures.wrapping_add(more.local_failures),
        }
    }

    /// Is the sum of both; each saturates.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self {
            successes: self.successes.saturating_add(other.successes),
            gateway_failures: self.gateway_failures.saturating_add(other.gateway_failures),
            local_failures: self.local_failures.saturating_add(other.local_failures),
        }
    }
}

/// Says that a report has [`MAX_REPORT_ENTRIES`] endpoints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must have at most {MAX_REPORT_ENTRIES} endpoints")]
pub struct ReportFull;

/// Is one worker's report on one cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Says whose it is.
    pub header: ReportHeader,
    entries: BTreeMap<EndpointAddress, Observed>,
}

impl Report {
    /// Starts a report without endpoints.
    #[must_use]
    pub const fn new(header: ReportHeader) -> Self {
        Self {
            header,
            entries: BTreeMap::new(),
        }
    }

    /// Adds what was seen of an endpoint; the later one of the same address replaces the earlier.
    /// Times are rounded down to milliseconds where they are encoded.
    ///
    /// # Errors
    /// There is no room.
    pub fn try_push(
        &mut self,
        address: EndpointAddress,
        observed: Observed,
    ) -> Result<(), ReportFull> {
        if self.entries.len() >= MAX_REPORT_ENTRIES && !self.entries.contains_key(&address) {
            return Err(ReportFull);
        }
        self.entries.insert(address, observed);
        Ok(())
    }

    /// Is the number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether nothing was seen; such a report still says that its worker lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Replaces `out` by the report's bytes. Reports of several clusters may stand one behind the
    /// other in a slot.
    pub fn encode(&self, out: &mut Vec<u8>) {
        REPORT.begin(out, self.entries.len());
        let header = self.header;
        for field in [
            header.configuration,
            header.cluster,
            header.worker,
            header.sequence,
            header.reported_at.as_ns(),
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        for (address, observed) in &self.entries {
            out.extend_from_slice(&address.to_key());
            out.extend_from_slice(&observed.generation.to_be_bytes());
            Latency::put(observed.latency, out);
            let counts = observed.counts;
            for count in [
                observed.since,
                counts.successes,
                counts.gateway_failures,
                counts.local_failures,
            ] {
                out.extend_from_slice(&count.to_be_bytes());
            }
            out.extend_from_slice(&[observed.gateway_row, observed.local_row]);
        }
        REPORT.finish(out);
    }
}

/// Is a report's bytes that were found whole; reading them allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct ReportView<'a> {
    header: ReportHeader,
    records: Records<'a>,
}

impl<'a> ReportView<'a> {
    /// Checks the bytes of exactly one report. Cost: O(bytes).
    ///
    /// # Errors
    /// See [`SnapshotError`]; the same order as for a snapshot.
    pub fn open(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let (view, total) = Self::open_front(bytes)?;
        if bytes.len() > total {
            return Err(SnapshotError::Longer {
                expected: total,
                got: bytes.len(),
            });
        }
        Ok(view)
    }

    fn open_front(bytes: &'a [u8]) -> Result<(Self, usize), SnapshotError> {
        let (frame, total) = REPORT.open_front(bytes)?;
        let mut fields = Fields(frame.header);
        let mut parts = || {
            Some(ReportHeader {
                configuration: fields.u64()?,
                cluster: fields.u64()?,
                worker: fields.u64()?,
                sequence: fields.u64()?,
                reported_at: fields.exact_moment()?,
            })
        };
        let header = parts().ok_or(SnapshotError::Header)?;
        frame.records.check_order::<ADDRESS_BYTES>()?;
        for (index, record) in frame.records.iter().enumerate() {
            read_entry(record).ok_or(SnapshotError::Record { index })?;
        }
        let records = frame.records;
        Ok((Self { header, records }, total))
    }

    /// Says whose it is.
    #[must_use]
    pub const fn header(&self) -> &ReportHeader {
        &self.header
    }

    /// Lists what was seen, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = (EndpointAddress, Observed)> + use<'a> {
        self.records.iter().filter_map(read_entry)
    }
}

/// Lists the reports of a slot, which stand one behind the other. After one that was refused it
/// ends, because nobody knows where the next begins.
#[derive(Clone, Debug)]
pub struct ReportViews<'a>(&'a [u8]);

impl<'a> ReportViews<'a> {
    /// Takes a slot's bytes; none are no report.
    #[must_use]
    pub const fn new(slot: &'a [u8]) -> Self {
        Self(slot)
    }
}

impl<'a> Iterator for ReportViews<'a> {
    type Item = Result<ReportView<'a>, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(match ReportView::open_front(self.0) {
            Ok((view, total)) => {
                self.0 = self.0.get(total..).unwrap_or_default();
                Ok(view)
            }
            Err(error) => {
                self.0 = &[];
                Err(error)
            }
        })
    }
}

fn read_entry(record: &[u8]) -> Option<(EndpointAddress, Observed)> {
    let mut fields = Fields(record);
    let address = EndpointAddress::from_key(&fields.take::<ADDRESS_BYTES>()?)?;
    let observed = Observed {
        generation: fields.u32()?,
        latency: Latency::take(&mut fields)?,
        since: fields.u32()?,
        counts: Counts {
            successes: fields.u32()?,
            gateway_failures: fields.u32()?,
            local_failures: fields.u32()?,
        },
        gateway_row: fields.u8()?,
        local_row: fields.u8()?,
    };
    Some((address, observed))
}
