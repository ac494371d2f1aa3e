//! An answer that is read in slices.

use alloc::vec::Vec;

use crate::{
    membership::{ClustersParser, FeedParser, Listing, Progress, Refused},
    units::WallTime,
};

/// Is how much of an answer one tick reads, in bytes: about 0.5 ms. More makes requests wait that
/// arrive meanwhile; less makes 10 000 endpoints take longer than the half minute that they may.
pub(super) const SLICE_BYTES: usize = 65_536;

/// Is the reader of one format.
#[derive(Debug)]
enum Format {
    Clusters(ClustersParser),
    Feed(FeedParser),
}

/// Is a whole answer and how far it was read.
#[derive(Debug)]
pub(super) struct Reading {
    format: Format,
    bytes: Vec<u8>,
    /// Is when it came: what is in it held then.
    pub(super) arrived: WallTime,
}

impl Reading {
    pub(super) fn of_clusters(bytes: Vec<u8>, arrived: WallTime) -> Self {
        let format = Format::Clusters(ClustersParser::new());
        Self {
            format,
            bytes,
            arrived,
        }
    }

    pub(super) fn of_feed(bytes: Vec<u8>, arrived: WallTime) -> Self {
        let format = Format::Feed(FeedParser::new());
        Self {
            format,
            bytes,
            arrived,
        }
    }

    /// Reads a slice; `None`: there is more.
    pub(super) fn advance(&mut self) -> Option<Result<Vec<Listing>, Refused>> {
        let progress = match &mut self.format {
            Format::Clusters(parser) => parser.advance(&self.bytes, SLICE_BYTES),
            Format::Feed(parser) => parser.advance(&self.bytes, SLICE_BYTES),
        };
        match progress {
            Progress::More { .. } => None,
            Progress::Done(listings) => Some(Ok(listings)),
            Progress::Refused(refused) => Some(Err(refused)),
        }
    }
}
